"""How a model is spread over the ranks of a site. The model itself knows nothing of it."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from workloads.spec.errors import UserError
from workloads.trainer.world import World


def parallelise(model: nn.Module, world: World) -> nn.Module:
    """`model` as it is for one rank; for more, one whose gradients are the mean over all of them."""
    if world.size == 1:
        return model
    return DistributedDataParallel(model)


def rank_batch(batch: int, world: World) -> int:
    """Samples of one rank in a step of `batch` samples. Raises `UserError` if they cannot be shared equally."""
    if batch % world.size:
        raise UserError(
            f"train.inner.batch {batch} cannot be shared equally by {world.size} workers of a site; "
            f"use a multiple of {world.size}"
        )
    return batch // world.size
