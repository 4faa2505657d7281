"""What of a cloud stack's values does not fit together, said before anything is made of them. Pure."""

from infra.apps.launching import plan_training
from infra.apps.replica_counts import require_counter
from infra.apps.served import require_servable
from infra.cloud_contracts import PoolContract
from infra.cluster.pools import declared_pools, efa_pools
from infra.network.tunnels import USED, bandwidth
from infra.scheduling.quotas import flavor_name
from infra.settings import Settings
from workloads.spec.errors import UserError
from workloads.spec.launch import LinkFacts
from workloads.spec.recipe import Recipe


def check_cloud(settings: Settings, recipe: Recipe) -> None:
    """All checks that need values alone, and not what a cloud answers. Addresses are checked as they are planned.

    Raises:
        UserError: the first value that does not fit.
    """
    require_ways_out(settings)
    require_zones(settings)
    require_another_region(settings)
    require_trust(settings)
    require_tokens(settings)
    pools = declared_pools(settings)
    _require_flavors(pools)
    require_images(settings)
    require_servable(recipe, settings.of_cloud.serving)
    require_gpus_for_replicas(settings, pools)
    require_counter(settings.of_cloud.serving, settings.of_cloud.cluster)
    (link,) = settings.links
    bandwidth(link.rate, USED[settings.openstack_site[1].vpn])
    names = [site.name for site in settings.sites]
    facts = LinkFacts(rate_mbps=link.rate, rtt_ms=link.rtt_ms)
    plan_training(recipe, names, pools, facts, settings.of_cloud.serving)


def require_ways_out(settings: Settings) -> None:
    """Raises `UserError` where nodes on AWS would reach neither AWS's services nor the cluster's API."""
    site, values = settings.aws_site
    if values.nat != "none":
        return
    if not values.interface_endpoints:
        raise UserError(
            f"site {site.name}: nat none and interface_endpoints false leave nodes no way to ECR and EKS; "
            "set interface_endpoints: true, or nat: one"
        )
    if settings.of_cloud.cluster.public_access:
        raise UserError(
            f"site {site.name}: cluster.public_access makes the API public, and nat none leaves nodes no way to it; set "
            "nat: one, or empty public_access"
        )


def require_zones(settings: Settings) -> None:
    """Raises `UserError` for a pool in a zone that its site has no subnet in."""
    _, values = settings.aws_site
    for pool in values.gpu_pools:
        if pool.zone >= values.zones:
            raise UserError(
                f"pool {pool.name}: zone {pool.zone} is beyond the site's {values.zones} zones, which count from 0; pick "
                "one below, or raise zones"
            )


def require_another_region(settings: Settings) -> None:
    """Raises `UserError` for a replica that would be lost with what it is a replica of."""
    _, values = settings.aws_site
    if settings.of_cloud.storage.replica_region == values.region:
        raise UserError(
            f"artefacts are replicated to {values.region}, where they are already; set cloud.storage.replica_region "
            "to another region, or leave it out"
        )


def require_trust(settings: Settings) -> None:
    """Raises `UserError` for a recovery whose replicas would refuse every model of the lost platform."""
    cloud = settings.of_cloud
    if cloud.storage.restore_from is not None and cloud.recovery.trusted_key is None:
        raise UserError(
            f"cloud.storage.restore_from {cloud.storage.restore_from} has models that are signed with a key of their own, "
            "and no model is served whose key is not trusted; set cloud.recovery.trusted_key to the one that the primary "
            "exports under recovery"
        )


def require_tokens(settings: Settings) -> None:
    """Raises `UserError` for a door that would let in whoever comes from outside."""
    site, project = settings.openstack_site
    if project.door.floating_ip and settings.of_cloud.serving.access is None:
        raise UserError(
            f"site {site.name}: door.floating_ip true opens the gateway to the outside, and it asks for no tokens; set "
            "cloud.serving.access, or door.floating_ip: false"
        )


def require_images(settings: Settings) -> None:
    """Raises `UserError` for an image that is neither given nor built."""
    cloud = settings.of_cloud
    if cloud.serving.runtime == "vllm" and cloud.images.vllm is None:
        raise UserError("runtime vllm has no image; set cloud.images.vllm, by digest, or cloud.serving.runtime: onnx")
    if cloud.images.pull == "Never" and cloud.images.to_build:
        raise UserError(
            f"cloud.images.pull Never, and {', '.join(cloud.images.to_build)} are built and pushed, so no node would have "
            "them; set pull: IfNotPresent, or give their references"
        )
    given, efa = cloud.images.trainer, efa_pools(settings)
    if efa and given is not None and cloud.images.trainer_efa is None:
        raise UserError(
            f"pool {efa[0]} has EFA, of which cloud.images.trainer {given} need know nothing; set cloud.images.trainer_efa "
            "to one made of it by infra/images/trainer-efa.Dockerfile, or leave trainer out and both are built"
        )


def require_gpus_for_replicas(settings: Settings, pools: tuple[PoolContract, ...]) -> None:
    """Raises `UserError` if replicas need more GPUs than any node of a site has."""
    needed = settings.of_cloud.serving.gpus
    for site in settings.sites:
        most = max((pool.gpus_per_node for pool in pools if pool.site == site.name), default=0)
        if needed > most:
            raise UserError(
                f"site {site.name!r}: a replica needs {needed} GPUs, and its nodes have {most} at most; lower "
                "cloud.serving.gpus, or add a pool"
            )


def _require_flavors(pools: tuple[PoolContract, ...]) -> None:
    """Pool `b` of site `a-a` and pool `a-b` of site `a` would be one flavor to the queues."""
    names = [flavor_name(pool) for pool in pools]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(
            f"pools {repeated} of both sites have one name with their site's; give one of each another name"
        )
