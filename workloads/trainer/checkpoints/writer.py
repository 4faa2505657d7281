"""States are copied to memory by the training thread, and written by another while training goes on."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from workloads.spec.disk import ensure_room
from workloads.spec.plan import Layout
from workloads.trainer.checkpoints.manifest import Progress
from workloads.trainer.checkpoints.store import CheckpointStore
from workloads.trainer.checkpoints.tensor_files import files_of, save_divided, save_own, staged
from workloads.trainer.layouts.flat import local
from workloads.trainer.world import World

Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome:
    """What became of the state of `round`: durable, or not, and why."""

    round: int
    fault: str | None


class CheckpointWriter:
    """Writes states of this site to `store`, one at a time. All ranks of the site call each method together.

    What fails leaves training and the older states as they were, and is an `Outcome` that says so. `makes_scratch`:
    this rank is the first of its machine.
    """

    def __init__(self, store: CheckpointStore, world: World, layout: Layout, *, makes_scratch: bool) -> None:
        self._store = store
        self._world = world
        self._layout = layout
        self._makes_scratch = makes_scratch
        # Its own group: the training thread's collectives must not meet those of the writing one.
        self.group = cast("dist.ProcessGroup", dist.new_group(backend="gloo")) if world.size > 1 else None
        self._thread: threading.Thread | None = None
        self._outcomes: list[Outcome] = []

    def start(self, progress: Progress, divided: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        """Copy a state, and begin to write it when the one before is durable.

        `divided` are this rank's shares of tensors that all ranks hold together, `own` what is this rank's alone.
        """
        self.wait()
        copies = staged(divided), {name: tensor.detach().cpu().clone() for name, tensor in own.items()}
        self._thread = threading.Thread(target=self._write, args=(progress, *copies), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def outcomes(self) -> list[Outcome]:
        """What became of the states since the last call, as far as that is known."""
        known, self._outcomes = self._outcomes, []
        return known

    def _write(self, progress: Progress, divided: dict[str, Tensor], own: dict[str, Tensor]) -> None:
        fault = self._try_write(progress, divided, own)
        if fault is not None and self._makes_scratch:
            self._store.place.clear_scratch()
        self._outcomes.append(Outcome(progress.round, fault))

    def _try_write(self, progress: Progress, divided: dict[str, Tensor], own: dict[str, Tensor]) -> str | None:
        """What went wrong, the same on all ranks. Each step is taken by all or by none."""
        size = self._total(
            sum(tensor.nbytes for tensor in own.values()) + sum(local(tensor).nbytes for tensor in divided.values())
        )
        fault = self._agree(self._attempt(self._prepare, progress, size))
        fault = fault or self._attempt(save_divided, self._store.place.scratch(), divided, self.group)
        fault = fault or self._agree(self._attempt(save_own, self._store.place.scratch(), own, self._world.rank))
        if fault is not None:
            return fault
        digests: dict[str, str] = {}
        fault = self._agree(self._attempt(self._put, progress, digests))
        merged = self._merge(digests)
        if fault is None and self._world.is_first:
            fault = self._attempt(self._store.seal, progress, self._layout, merged)
        return self._agree(fault)

    def _prepare(self, progress: Progress, size_bytes: int) -> None:
        if self._makes_scratch:
            scratch = self._store.place.make_scratch()
            ensure_room(scratch, size_bytes, f"the checkpoint of round {progress.round}")

    def _put(self, progress: Progress, digests: dict[str, str]) -> None:
        files = files_of(self._store.place.scratch(), self._world.rank, self._world.size)
        digests |= self._store.put(progress.round, files)

    @staticmethod
    def _attempt(step: object, *arguments: object) -> str | None:
        """Why `step` failed, in one line; None: it did not."""
        try:
            step(*arguments)  # type: ignore[operator]
        except CheckpointException as error:
            reasons = [" ".join(str(failure[0]).split()) for failure in error.failures.values()]
            return reasons[0] if reasons else "it could not be written"
        except Exception as error:  # noqa: BLE001 - a store may fail in any way, and training must not fail with it
            return " ".join(str(error).split()) or type(error).__name__
        return None

    def _agree(self, fault: str | None) -> str | None:
        return next((each for each in self._gather(fault) if each is not None), None)

    def _merge(self, digests: dict[str, str]) -> dict[str, str]:
        return {file: digest for part in self._gather(digests) for file, digest in part.items()}

    def _total(self, size: int) -> int:
        return sum(self._gather(size))

    def _gather(self, value: Value) -> list[Value]:
        """`value` of every rank of the site, which trust each other."""
        if self.group is None:
            return [value]
        values: list[Value | None] = [None] * self._world.size
        dist.all_gather_object(values, value, group=self.group)
        return cast("list[Value]", values)
