"""The processes of one site: who takes part, on which device, and how they talk. One process alone needs no group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from workloads.spec.errors import UserError
from workloads.spec.plan import Layout

# A rank waits for the first one, which waits for the other sites: an outage of the link may last for days.
_PATIENCE = timedelta(days=30)

PIPELINE, REPLICATE, SHARD, TENSOR = MESH = ("pp", "dp_replicate", "dp_shard", "tp")  # slowest links outermost


@dataclass(frozen=True)
class World:
    """The site's ranks as seen by one of them. `mesh` has the dimensions `MESH`, and is there for more than one rank."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh | None = None

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for the site."""
        return self.rank == 0

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Fill `tensor` on every rank with the first rank's values, and return it."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def share(self, number: int) -> int:
        """The first rank's `number`, on every rank."""
        return int(self.broadcast(torch.tensor(number, device=self.device)).item())

    def gather(self, tensor: Tensor) -> Tensor:
        """`tensor` of every rank, stacked: [size, ...]."""
        if self.size == 1:
            return tensor.unsqueeze(0)
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor)
        return torch.stack(parts)

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean of `tensor` over all ranks, the same bits on each."""
        return self.gather(tensor).mean(dim=0)


def make_world(rank: int, layout: Layout, device: torch.device) -> World:
    """The world of an initialised process group, with the mesh of `layout`. All ranks call it together."""
    if layout.ranks == 1:
        return World(rank, 1, device)
    sizes = (layout.pipeline, layout.replicas, layout.shards, layout.tensor)
    return World(rank, layout.ranks, device, init_device_mesh(device.type, sizes, mesh_dim_names=MESH))


@contextmanager
def join_world(threads: int, seed: int, layout: Layout | None = None) -> Iterator[World]:
    """Take the place that torchrun's environment gives to this process, with `threads` threads and torch seeded.

    The ranks talk by NCCL where the machine has GPUs, by gloo where it has none. Without `layout` all are replicas.

    Raises:
        UserError: the layout needs another number of ranks, or the machine has fewer GPUs than ranks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    layout = Layout(replicas=size) if layout is None else layout
    if layout.ranks != size:
        raise UserError(
            f"layout {layout} needs {layout.ranks} workers, and {size} were started; "
            f"use torchrun --nproc-per-node {layout.ranks}"
        )
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = _device(int(os.environ.get("LOCAL_RANK", "0")))
    if size > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield make_world(rank, layout, device)
    finally:
        if size > 1:
            dist.destroy_process_group()


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"worker {local_rank} of this machine has no GPU, there are {torch.cuda.device_count()}; "
            "start as many workers as there are GPUs"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
