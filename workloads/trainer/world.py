"""The processes of one site: who takes part, on which device, and how they talk. One process alone needs no group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

# A rank waits for the first one, which waits for the other sites: an outage of the link may last for days.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class World:
    """The site's ranks as seen by one of them."""

    rank: int
    size: int
    device: torch.device

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
        """Mean of `tensor` over all ranks."""
        return self.gather(tensor).mean(dim=0)


@contextmanager
def join_world(threads: int, seed: int) -> Iterator[World]:
    """Take the place that torchrun's environment gives to this process, with `threads` threads and torch seeded."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield World(rank, size, device)
    finally:
        if size > 1:
            dist.destroy_process_group()
