"""The images that pods name: given by reference, or built by the stack and pushed to its own repositories."""

import pulumi

from infra.cloud_contracts import ImagesContract, RepositoryContract
from infra.cluster.pools import efa_pools
from infra.images.sources import TRAINER_EFA
from infra.scope import Scope
from infra.settings import Settings


def images(scope: Scope, settings: Settings, repository: RepositoryContract) -> ImagesContract:
    """References by image. Nothing of Docker is declared, nor its plugin needed, where all are given."""
    given, efa = settings.of_cloud.images, bool(efa_pools(settings))
    built: dict[str, pulumi.Output[str]] = {}
    if given.to_build:
        from infra.apps.image_builds import build  # noqa: PLC0415 - nothing of Docker is imported where all are given

        built = build(scope, given.to_build, repository, given.base, efa=efa and given.trainer_efa is None)

    def reference(name: str, of: str | None) -> pulumi.Output[str]:
        return built[name] if of is None else pulumi.Output.from_input(of)

    by_efa = reference(TRAINER_EFA, given.trainer_efa) if efa else None
    return ImagesContract(
        trainer=reference("trainer", given.trainer),
        inference=reference("inference", given.inference),
        registry=reference("registry", given.registry),
        vllm=pulumi.Output.from_input(given.vllm) if given.vllm else None,
        postgres=given.postgres,
        pull_policy=given.pull,
        trainer_efa=by_efa,
    )
