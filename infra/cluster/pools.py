"""What a stack's values say of its pools of GPUs, before or without any of it being made. Pure."""

from typing import Final

from infra.cloud_contracts import PoolContract
from infra.cloud_settings import GpuPool, GpuServers
from infra.cluster.catalogue import efa_interfaces, instance_facts
from infra.cluster.labels import REGION_LABEL, ZONE_LABEL, node_labels
from infra.settings import Settings
from workloads.spec.facts import Accelerator

_GIB: Final = 1 << 30


def declared_pools(settings: Settings) -> tuple[PoolContract, ...]:
    """The pools of both sites, as the components will give them, with nothing to wait for.

    Raises:
        UserError: an instance type is unknown or has no EFA.
    """
    (site, values), (other, project) = settings.aws_site, settings.openstack_site
    return (
        *(aws_pool(site.name, values.region, pool) for pool in values.gpu_pools),
        *(openstack_pool(other.name, project.region, group) for group in project.gpu_servers),
    )


def aws_pool(site: str, region: str, pool: GpuPool) -> PoolContract:
    """A managed node group.

    Raises:
        UserError: the instance type is unknown or has no EFA.
    """
    facts = instance_facts(pool.name, pool.instance_type)
    return PoolContract(
        site=site,
        cloud="aws",
        name=pool.name,
        nodes=pool.nodes.desired,  # nothing here grows a pool, and a run that waits for more would wait for ever
        gpus_per_node=facts.gpus,
        accelerator=facts.accelerator,
        cpus_per_node=facts.vcpus,
        memory_gib_per_node=facts.memory_gib,
        labels={**node_labels(site, pool.name), REGION_LABEL: region},
        efa_per_node=efa_interfaces(pool.name, facts) if pool.efa else 0,
        ready=(),
    )


def efa_pools(settings: Settings) -> tuple[str, ...]:
    """Names of the pools whose nodes have EFA."""
    return tuple(pool.name for pool in settings.aws_site[1].gpu_pools if pool.efa)


def openstack_pool(site: str, region: str, group: GpuServers) -> PoolContract:
    """Servers of one flavor."""
    return PoolContract(
        site=site,
        cloud="openstack",
        name=group.name,
        nodes=group.count,
        gpus_per_node=group.gpu.count,
        accelerator=Accelerator(kind=group.gpu.kind, memory_bytes=group.gpu.memory_gib * _GIB),
        cpus_per_node=group.vcpus,
        memory_gib_per_node=group.memory_gib,
        labels={
            **node_labels(site, group.name),
            # a cloud provider would set these; kubelet may, by Kubernetes' NodeRestriction
            REGION_LABEL: region.lower(),
            ZONE_LABEL: site,
        },
        efa_per_node=0,
        ready=(),
    )
