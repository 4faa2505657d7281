"""Images that the stack builds and pushes: a module apart, since a stack whose images are all given needs no SDK of Docker."""

import os
from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
import pulumi_docker_build as docker_build

from infra.cloud_contracts import RepositoryContract
from infra.images.sources import TRAINER, TRAINER_EFA, dockerfile, source_tag
from infra.scope import Scope
from infra.settings import ROOT


def build(
    scope: Scope, names: tuple[str, ...], repository: RepositoryContract, base: str | None, *, efa: bool
) -> dict[str, pulumi.Output[str]]:
    """References by image, of what `docker buildx` pushed; with `efa` also of the trainer for nodes that have it."""
    builder = docker_build.Provider("docker-build", opts=scope.child())
    scope = scope.component("Images", "images", {"docker-build": builder})
    token = aws.ecr.get_authorization_token_output(opts=pulumi.InvokeOutputOptions(parent=scope.parent))
    registry = docker_build.RegistryArgs(
        address=token.proxy_endpoint, username=token.user_name, password=pulumi.Output.secret(token.password)
    )
    arguments = {"BASE": base} if base else {}
    tags = {name: source_tag(ROOT, name, arguments) for name in names}
    built = {name: _image(scope, name, repository.urls[name], tags[name], registry, arguments) for name in names}
    if efa:
        tag = f"efa-{source_tag(ROOT, TRAINER_EFA, {'BASE': tags[TRAINER]})}"
        trainer = {"BASE": built[TRAINER]}
        built[TRAINER_EFA] = _image(scope, TRAINER_EFA, repository.urls[TRAINER], tag, registry, trainer)
    return built


def _image(
    scope: Scope,
    name: str,
    repository: pulumi.Output[str],
    tag: str,
    registry: docker_build.RegistryArgs,
    arguments: Mapping[str, pulumi.Input[str]],
) -> pulumi.Output[str]:
    """Built by `docker buildx` itself, which adds the provenance that the plugin's own builder leaves out.

    The plugin has no option for a bill of materials (pulumi/pulumi-docker-build, issue 73): the Dockerfiles write one
    into the image.
    """
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
