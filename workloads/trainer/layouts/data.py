"""Data parallel: each rank trains on samples of its own, with the whole model (DDP) or a shard of it (FSDP2, HSDP)."""

import logging
import warnings
from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from workloads.spec.plan import Layout, Precision
from workloads.trainer.world import REPLICATE, SHARD


def replicate(model: nn.Module, *, leaves_some_unused: bool) -> DistributedDataParallel:
    """`model` whose gradients become the mean over all ranks of the site (DDP)."""
    return DistributedDataParallel(model, find_unused_parameters=leaves_some_unused)


def shard(
    model: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh, layout: Layout, precision: Precision
) -> None:
    """Divide the parameters of `model`, in place, among the data ranks that hold no replica of each other (FSDP2).

    Each of `blocks` is gathered just before its use. Of a pipeline's stages nothing is given back between
    micro-batches, which would cost a gather each. With replicas as well it is hybrid sharding (HSDP).
    """
    names = (REPLICATE, SHARD) if layout.replicas > 1 else (SHARD,)
    data = mesh[names] if len(names) > 1 else mesh[SHARD]
    gives_back = layout.pipeline == 1
    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        # sums of gradients stay in fp32: bf16 has 8 bits of mantissa
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    # one warns of changing in place an output that is a view, which nothing here does; the other of gathering a matrix
    # that is divided twice in two steps, which Muon wants
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    for block in blocks:
        fully_shard(block, mesh=data, reshard_after_forward=gives_back, mp_policy=policy)
    fully_shard(model, mesh=data, reshard_after_forward=gives_back, mp_policy=policy)


def reshard(model: nn.Module) -> None:
    """Give back what a forward pass without a backward one has gathered; else it is used again when it is stale."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
