"""What the containers of the platform's own images ask for, by the size of the model. Pure."""

from dataclasses import dataclass
from typing import Final

from infra.cloud_contracts import PoolContract
from infra.cloud_settings import ServingSettings
from infra.scheduling.quotas import CPU, MEMORY, per_node
from workloads.planning.size import parameter_count
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe

_MIB: Final = 1 << 20
_UNKNOWN_PARAMETERS: Final = 200_000_000  # of a model whose size the planner cannot tell
_SMALLEST_SHARE: Final = 0.5  # of a node that is bought for training


@dataclass(frozen=True)
class Allotment:
    """CPU and memory."""

    millicores: int
    memory_mib: int

    def __add__(self, other: "Allotment") -> "Allotment":
        return Allotment(self.millicores + other.millicores, self.memory_mib + other.memory_mib)

    def __sub__(self, other: "Allotment") -> "Allotment":
        return Allotment(self.millicores - other.millicores, self.memory_mib - other.memory_mib)

    def __mul__(self, times: int) -> "Allotment":
        return Allotment(self.millicores * times, self.memory_mib * times)


_SIDECAR: Final = Allotment(50, 96)  # Istio's proxy, as the mesh is installed


def of_trainer(pool: PoolContract, nodes: int, recipe: Recipe, serving: ServingSettings) -> Allotment:
    """A trainer's pod on each of a pool's nodes: all that a pod can ask for there, less what serves beside it.

    The OpenStack site has no nodes but those with GPUs, so replicas that compute on CPUs stand on them too.

    Raises:
        UserError: the replicas would leave less than half a node.
    """
    whole = Allotment(per_node(pool)[CPU], per_node(pool)[MEMORY])
    if pool.cloud == "aws" or serving.gpus:
        return whole
    beside = -(-(serving.replicas.max + 1) // nodes)  # one more while a Deployment rolls
    left = whole - of_replica_pod(recipe, serving) * beside
    if left.millicores < _SMALLEST_SHARE * whole.millicores or left.memory_mib < _SMALLEST_SHARE * whole.memory_mib:
        raise UserError(
            f"site {pool.site!r}: {beside} replicas on a node of pool {pool.name} leave {max(0, left.millicores) / 1000:g} "
            f"of {whole.millicores / 1000:g} CPUs and {max(0, left.memory_mib)} of {whole.memory_mib} MiB for training, "
            "less than half; lower cloud.serving.replicas.max, or add servers"
        )
    return left


def of_replica(recipe: Recipe, serving: ServingSettings) -> Allotment:
    """A replica: int8 weights twice, or half-precision ones on their way to a GPU."""
    weights_mib = _parameters(recipe) // _MIB
    if serving.runtime == "vllm":
        return Allotment(2000 * max(1, serving.gpus), 8192 + 4 * weights_mib)
    return Allotment(500, 768 + 2 * weights_mib)


def of_replica_pod(recipe: Recipe, serving: ServingSettings) -> Allotment:
    """The same with its proxy."""
    return of_replica(recipe, serving) + _SIDECAR


def of_closing(recipe: Recipe) -> Allotment:
    """Compression: weights, the graph before and after pruning, its prepared copy and its int8 one, and what loads them."""
    return Allotment(1000, 3072 + 20 * _parameters(recipe) // _MIB)


def _parameters(recipe: Recipe) -> int:
    try:
        return parameter_count(recipe)
    except UserError:  # nothing is known of the model's size
        return _UNKNOWN_PARAMETERS
