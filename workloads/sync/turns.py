"""How far a site's training thread is: turns begun and committed, and what each needs until the model is merged with it."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from workloads.sync.history import turn_digest
from workloads.sync.outer import rebase
from workloads.sync.outer_state import OuterState
from workloads.sync.progress import Progress, TurnReport
from workloads.sync.snapshots import Snapshots

_SNAPSHOT = "snapshot"


class Turns:
    """The turns of one part of a model, whose outer state is `state`. For the training thread alone."""

    def __init__(self, state: OuterState) -> None:
        self.begun = 0
        self.committed = 0
        self._state = state
        self._dtype = state.optimizer.parameters.dtype
        largest = max(where.stop - where.start for where in state.fragments)
        self._snapshots = Snapshots(largest, self._dtype)
        self._offered = [0] * len(state.fragments)  # samples trained when a fragment was last begun
        self._digests = state.digests()  # by fragment, as committed

    @property
    def can_begin(self) -> bool:
        """Whether the next turn's fragment is free: not pending from the round before."""
        return self.begun - self.committed < len(self._state.fragments)

    def digest(self) -> str:
        """SHA-256 of the outer state as committed."""
        return turn_digest(self.committed, self._digests)

    def begin(self, local: Tensor, trained: int) -> tuple[int, Tensor, int]:
        """The next turn, a copy of `local`, and the samples that it has learnt from. Raises as `Synchronizer.begin` does."""
        turn = self.begun + 1
        if not self.can_begin:
            raise RuntimeError(f"turn {self.committed + 1} is pending; commit it before turn {turn}")
        self._state.settings(turn)
        self._ensure_fits(local, self._state.where(turn))
        fragment = self._state.fragment(turn)
        samples = trained - self._offered[fragment]
        if samples < 1:
            raise ValueError(
                f"turn {turn}: {trained} samples trained, {self._offered[fragment]} of them offered before; "
                f"every site must have trained on some"
            )
        self._snapshots.drop([self.committed])
        self._offered[fragment] = trained
        self.begun = turn
        return turn, self._snapshots.take(turn, local), samples

    def commit(self, report: TurnReport, digest: str) -> None:
        """The oldest pending turn is merged: `report` of it, and the `digest` of its fragment's outer state."""
        self._digests[report.fragment] = digest
        self._snapshots.drop([self.committed])
        self.committed = report.turn

    def merge(self, local: Tensor) -> Tensor:
        """Bring `local` to the outer state after a commit. Raises as `Synchronizer.merge` does."""
        if self.committed not in self._snapshots:
            raise RuntimeError("no turn was just committed; commit one first")
        where = self._state.where(self.committed)
        self._ensure_fits(local, where)
        if not self._state.is_identity(self.committed):
            rebase(local, self._snapshots[self.committed], self._state.optimizer.parameters[where])
        return local

    def progress(self, reports: Iterable[tuple[TurnReport, str]]) -> Progress:
        """Where this site stands, with the `reports` of turns merged and not committed."""
        return Progress(
            begun=self.begun,
            merged=self._state.merged,
            committed=self.committed,
            offered=tuple(self._offered),
            histories=tuple(self._state.histories),
            digests=tuple(self._digests),
            cohorts=tuple(self._state.cohorts),
            reports=tuple(reports),
        )

    def snapshots(self) -> dict[str, Tensor]:
        """Those of pending turns, by name, not copied."""
        return {f"{_SNAPSHOT}.{turn}": self._snapshots[turn] for turn in range(self.committed + 1, self.begun + 1)}

    def load(self, progress: Progress, state: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Go on from `progress` with the snapshots in `state`; copies of them, by turn."""
        self.go_on(progress.begun, progress.committed, progress.offered, progress.digests)
        pending = range(progress.committed + 1, progress.begun + 1)
        return {turn: self._snapshots.take(turn, state[f"{_SNAPSHOT}.{turn}"]) for turn in pending}

    def go_on(self, begun: int, committed: int, offered: Sequence[int], digests: Sequence[str]) -> None:
        """Go on from here, without snapshots."""
        self._snapshots.drop(range(self.committed, self.begun + 1))
        self.begun, self.committed = begun, committed
        self._offered, self._digests = list(offered), list(digests)

    def _ensure_fits(self, local: Tensor, where: slice) -> None:
        size = where.stop - where.start
        if not isinstance(local, Tensor) or local.shape != (size,) or local.dtype != self._dtype:
            found = f"{local.dtype} {list(local.shape)}" if isinstance(local, Tensor) else type(local).__name__
            raise ValueError(f"local parameters are {found}; they must be {self._dtype} [{size}]")


def missing_snapshots(state: Mapping[str, Tensor], pending: Iterable[int]) -> list[int]:
    """Those of the turns `pending` whose snapshots `state` lacks."""
    return [turn for turn in pending if f"{_SNAPSHOT}.{turn}" not in state]
