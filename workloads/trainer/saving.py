"""A site's states on their way to its checkpoints and back. All ranks of the site call each method together."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.spec.plan import Layout
from workloads.trainer.checkpoints import CheckpointStore, CheckpointWriter, Identity, Outcome, Place, Progress
from workloads.trainer.checkpoints.state import SiteState, seed_all, splits
from workloads.trainer.finished import course_digest, model_digest
from workloads.trainer.world import World

_FOLDER = "checkpoints"


class StateSaver:
    """Saves and restores `state`. `wire_bytes` gives what this rank has put on the link in this process."""

    def __init__(
        self,
        *,
        world: World,
        layout: Layout,
        store: CheckpointStore,
        state: SiteState,
        wire_bytes: Callable[[], int],
        on_outcome: Callable[[Outcome], None] | None,
    ) -> None:
        self._world = world
        self._layout = layout
        self._store = store
        self._state = state
        self._wire_bytes = wire_bytes
        self._wire_bytes_before = 0
        self._on_outcome = on_outcome
        self._is_first_of_machine = int(os.environ.get("LOCAL_RANK", "0")) == 0
        self._writer = CheckpointWriter(store, world, layout, makes_scratch=self._is_first_of_machine)

    def save(self, progress: Progress) -> None:
        """Begin to make the state durable; the one before is durable, or has failed and was told of, on return."""
        self._writer.start(self.with_wire_bytes(progress), self._state.divided(), self._state.own())
        self._tell()

    def finish(self) -> None:
        """Return when nothing is being written."""
        self._writer.wait()
        self._tell()

    def close(self) -> None:
        """The same, and nobody is told: training has ended."""
        self._writer.wait()

    def restore(self, number: int, seed: int) -> Progress:
        """Take on the state after round `number`; 0: begin, with generators that draw apart where samples differ."""
        seed_all(seed + self._state.parallel.data_rank)
        if number == 0:
            return Progress()
        if self._is_first_of_machine:
            self._store.fetch(number)
        self._world.share(0)  # what one worker of a machine has fetched, the others find there
        saved = self._store.open(number)
        self._state.restore(saved, self._world, self._layout, self._writer.group)
        self._wire_bytes_before = saved.progress.wire_bytes_sent
        if splits(saved.layout) == splits(self._layout):
            return saved.progress
        return saved.progress.model_copy(update={"pending": ()})

    def with_wire_bytes(self, progress: Progress) -> Progress:
        """`progress` with what all parts have put on the link, over all resumptions."""
        mine = torch.tensor(self._wire_bytes(), device=self._world.device)
        total = self._wire_bytes_before + int(self._world.gather(mine).sum())
        return progress.model_copy(update={"wire_bytes_sent": total})

    def _tell(self) -> None:
        for outcome in self._writer.outcomes():
            if self._on_outcome is not None:
                self._on_outcome(outcome)


def open_store(launch: LaunchSpec, site: SiteLaunch, parameters: int) -> CheckpointStore:
    """The checkpoints of `site`, whose model has so many parameters.

    Raises:
        UserError: their address is of no kind that `fsspec` knows.
    """
    recipe = launch.recipe
    identity = Identity(
        model=f"{recipe.name} ({parameters:,} parameters)",
        model_digest=model_digest(recipe),
        training=course_digest(launch, site.name),
    )
    folder = Path(site.work / _FOLDER).absolute()
    place = Place(site.checkpoints or str(folder), scratch=folder)
    return CheckpointStore(place, recipe.train.checkpoint.keep, identity)
