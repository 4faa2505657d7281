"""The images that pods name: given by reference, or built by the stack and pushed to its own repositories."""

import os
from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
import pulumi_docker_build as docker_build

from infra.cloud_contracts import ImagesContract, RepositoryContract
from infra.images.sources import dockerfile, source_tag
from infra.scope import Scope
from infra.settings import ROOT, Settings
from workloads.spec.errors import UserError


def images(scope: Scope, settings: Settings, repository: RepositoryContract) -> ImagesContract:
    """References by image. Nothing of Docker is declared, nor its plugin needed, where all are given.

    Raises:
        UserError: vLLM shall serve and has no image; the stack does not build that one.
    """
    given = settings.of_cloud.images
    if settings.of_cloud.serving.runtime == "vllm" and given.vllm is None:
        raise UserError("runtime vllm has no image; set cloud.images.vllm, by digest, or cloud.serving.runtime: onnx")
    built = _build(scope, given.to_build, repository, given.base)

    def reference(name: str, of: str | None) -> pulumi.Output[str]:
        return built[name] if of is None else pulumi.Output.from_input(of)

    return ImagesContract(
        trainer=reference("trainer", given.trainer),
        inference=reference("inference", given.inference),
        registry=reference("registry", given.registry),
        vllm=pulumi.Output.from_input(given.vllm) if given.vllm else None,
        postgres=given.postgres,
        pull_policy=given.pull,
    )


def _build(
    scope: Scope, names: tuple[str, ...], repository: RepositoryContract, base: str | None
) -> Mapping[str, pulumi.Output[str]]:
    if not names:
        return {}
    builder = docker_build.Provider("docker-build", opts=scope.child())
    scope = scope.component("Images", "images", {"docker-build": builder})
    token = aws.ecr.get_authorization_token_output(opts=pulumi.InvokeOutputOptions(parent=scope.parent))
    registry = docker_build.RegistryArgs(
        address=token.proxy_endpoint, username=token.user_name, password=pulumi.Output.secret(token.password)
    )
    return {name: _image(scope, name, repository.urls[name], registry, base) for name in names}


def _image(
    scope: Scope, name: str, repository: pulumi.Output[str], registry: docker_build.RegistryArgs, base: str | None
) -> pulumi.Output[str]:
    """Built by `docker buildx` itself, which adds the provenance that the plugin's own builder leaves out.

    The plugin has no option for a bill of materials (pulumi/pulumi-docker-build, issue 73): the Dockerfiles write one
    into the image.
    """
    arguments = {"BASE": base} if base else {}
    tag = source_tag(ROOT, name, arguments)
    # relative, so that the state is the same on every machine: the engine starts program and plugins in one folder
    root = os.path.relpath(ROOT)
    image = docker_build.Image(
        name,
        context=docker_build.BuildContextArgs(location=root),
        dockerfile=docker_build.DockerfileArgs(location=os.path.join(root, dockerfile(name))),  # noqa: PTH118
        build_args={**arguments, "VERSION": tag},
        platforms=[docker_build.Platform.LINUX_AMD64],
        registries=[registry],
        tags=[pulumi.Output.concat(repository, ":", tag)],
        push=True,
        exec_=True,
        build_on_preview=False,  # a preview changes nothing, and a laptop without Docker can make one
        opts=scope.child(),
    )
    return image.ref
