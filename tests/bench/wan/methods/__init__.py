"""The ways to train at two sites, one module each; a worker loads the libraries of its own alone."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from tests.bench.wan.jobs import Job


class Way(Protocol):
    """How one site keeps the model common with the other."""

    model: nn.Module  # to be called in training
    settled: int  # merges after which it runs as it will go on

    def stepped(self, step: int) -> bool:
        """Do what is due after inner step `step`, counted from 1; whether a merge was completed."""

    def shared(self) -> Tensor:
        """The model that the last merge gave, flat; in parameter order."""

    def close(self) -> None:
        """See the other site through, and stop."""


def way_of(job: Job, site: int) -> Callable[[Job, int, nn.Module, Sequence[Optimizer]], Way]:
    """What makes the way of the job's method at a site, and connects it with the other."""
    match job.method.kind:
        case "post-local":
            from tests.bench.wan.methods.post_local import PostLocal  # noqa: PLC0415

            return PostLocal
        case "torchft" | "torchft-bucket":
            from tests.bench.wan.methods.torchft_diloco import TorchftDiLoCo  # noqa: PLC0415

            return TorchftDiLoCo
        case "isthmus":
            from tests.bench.wan.methods.isthmus import Isthmus, warm_up  # noqa: PLC0415

            warm_up(job, site)
            return Isthmus
        case _:
            from tests.bench.wan.methods.lock_step import LockStep  # noqa: PLC0415

            return LockStep
