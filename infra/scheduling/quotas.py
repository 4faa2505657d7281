"""What the sites' nodes can give to jobs, in the units of Kueue. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.cloud_contracts import PoolContract
from infra.cloud_settings import ServingSettings
from infra.cluster.huge_pages import KEPT_MIB
from infra.settings import Settings
from workloads.spec.errors import UserError

CPU: Final = "cpu"
MEMORY: Final = "memory"
GPU: Final = "nvidia.com/gpu"
EFA: Final = "vpc.amazonaws.com/efa"

# What kubelet, system and the agents on every node keep for themselves, as a share: kubelet's part by EKS's formula is
# below 3 % of the CPUs and 5 % of the memory on nodes with GPUs, and CNI, device plugin, DCGM and node exporter ask for
# about as much. https://docs.aws.amazon.com/eks/latest/userguide/choosing-instance-type.html
_LEFT_OF_CPU = 0.92
_LEFT_OF_MEMORY = 0.88

Quota = Mapping[str, int]
"""Per resource: millicores of CPU, MiB of memory, and devices."""


def flavor_name(pool: PoolContract) -> str:
    """The name of a pool's ResourceFlavor: pools of different sites may have the same name."""
    return f"{pool.site}-{pool.name}"


def per_node(pool: PoolContract) -> dict[str, int]:
    """What a pod can ask for on one node of the pool. A pod that asks for more is never scheduled."""
    # huge pages are no memory to Kubernetes, though of a small node's they are as much as all that is left to the system
    memory_mib = pool.memory_gib_per_node * 1024 - (KEPT_MIB if pool.efa_per_node else 0)
    return {
        CPU: int(pool.cpus_per_node * 1000 * _LEFT_OF_CPU),
        MEMORY: int(memory_mib * _LEFT_OF_MEMORY),
        GPU: pool.gpus_per_node,
        EFA: pool.efa_per_node,
    }


def covered_resources(pools: Sequence[PoolContract]) -> tuple[str, ...]:
    """The resources that the queues count; EFA where a node has it."""
    return (CPU, MEMORY, GPU, EFA) if any(pool.efa_per_node for pool in pools) else (CPU, MEMORY, GPU)


def all_nodes_stand(settings: Settings) -> bool:
    """Whether every pool has all its nodes from the beginning.

    Placement by topology counts nodes that are there. A pool that grows on demand has fewer than its quota says, and a
    job that needs more would wait for ever, as nothing asks for the rest before it is admitted:
    https://kueue.sigs.k8s.io/docs/concepts/topology_aware_scheduling/
    """
    _, aws = settings.aws_site
    return all(pool.nodes.desired == pool.nodes.max for pool in aws.gpu_pools)


def training_pools(pools: Sequence[PoolContract]) -> dict[str, PoolContract]:
    """By site, the pool that its part of a training run gets: the one with the most GPU memory, the first of equals."""
    best: dict[str, PoolContract] = {}
    for pool in pools:
        known = best.get(pool.site)
        if known is None or _gpu_memory(pool) > _gpu_memory(known):
            best[pool.site] = pool
    return best


def nominal_quotas(pools: Sequence[PoolContract], serving: ServingSettings) -> dict[str, Quota]:
    """By flavor, what jobs may use: all nodes, less the GPUs that the serving replicas of the site hold.

    Replicas are no jobs of Kueue's, so their GPUs have to be kept out of its sums. They are taken from the pools that no
    training run gets before those that one does.

    Raises:
        UserError: serving leaves a site no GPU for jobs.
    """
    chosen = training_pools(pools)
    quotas: dict[str, Quota] = {}
    for site, best in chosen.items():
        held = serving.gpus * serving.replicas.desired
        of_site = [pool for pool in pools if pool.site == site]
        total = sum(pool.nodes * pool.gpus_per_node for pool in of_site)
        if held >= total:
            raise UserError(
                f"site {site!r}: serving holds {held} of {total} GPUs and leaves none for training; lower "
                "cloud.serving.replicas.desired or cloud.serving.gpus, or add nodes"
            )
        for pool in sorted(of_site, key=lambda pool: pool is best):
            whole = {resource: amount * pool.nodes for resource, amount in per_node(pool).items()}
            taken = min(held, whole[GPU])
            held -= taken
            quotas[flavor_name(pool)] = {**whole, GPU: whole[GPU] - taken}
    return {flavor_name(pool): quotas[flavor_name(pool)] for pool in pools}


def quantity(resource: str, amount: int) -> str:
    """An amount as Kubernetes writes it."""
    return f"{amount}{ {CPU: 'm', MEMORY: 'Mi'}.get(resource, '') }"


def share(amount: int, fraction: float) -> int:
    """A part of an amount, rounded down: nobody lends half a GPU."""
    return int(amount * fraction)


def _gpu_memory(pool: PoolContract) -> int:
    return pool.nodes * pool.gpus_per_node * pool.accelerator.memory_bytes
