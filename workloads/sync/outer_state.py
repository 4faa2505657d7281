"""What all sites share, `(turn, g, m)`, with what one site holds back: changed turn by turn, by one thread at a time."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from workloads.spec.plan import Bits, Plan, RoundPlan
from workloads.sync.fragments import fragment_of, fragment_slices, round_of
from workloads.sync.frame import Frame
from workloads.sync.history import first_history, next_history, state_digest
from workloads.sync.outer import OuterOptimizer
from workloads.sync.payload import Quantised, UpdateFormat
from workloads.sync.progress import Cohort, Progress
from workloads.sync.quantise import exact
from workloads.sync.residual import Residual

PARAMETERS, MOMENTUM, RESIDUAL = "parameters", "momentum", "residual"


class OuterState:
    """The outer state of one part of a model at `site`, from `initial` [P]; `merged` turns are in it.

    Raises:
        TypeError: `initial` is neither float32 nor float64.
        UserError: it is too small for the plan's fragments.
    """

    def __init__(self, site: str, sites: Sequence[str], initial: Tensor, plan: Plan) -> None:
        self.fragments = fragment_slices(initial.numel(), plan.fragments)
        self.merged: int
        self.histories: list[str]  # by fragment
        self.cohorts = [Cohort(from_turn=1, sites=tuple(sorted(sites)))]
        self._site = site
        self._plan = plan
        # A site that is alone from the start has no link to save: its updates stay exact and leave nothing over.
        self._bits: Bits = plan.bits if len(sites) > 1 else 32
        self._dtype = initial.dtype
        self.form_of(1)  # a dtype that cannot travel is refused before anything is copied
        self.optimizer = OuterOptimizer(initial, has_momentum=any(part.momentum for part in plan.rounds))
        self._residual = Residual(initial.numel(), initial.dtype) if self._bits != 32 else None
        self.restart(after_turn=0)

    def fragment(self, turn: int) -> int:
        """Which fragment travels in `turn`."""
        return fragment_of(turn, len(self.fragments))

    def where(self, turn: int) -> slice:
        """Which parameters travel in `turn`."""
        return self.fragments[self.fragment(turn)]

    def settings(self, turn: int) -> RoundPlan:
        """Length and outer settings of the round of `turn`. Raises `ValueError`: the plan ends before."""
        number = round_of(turn, len(self.fragments))
        if number > len(self._plan.rounds):
            raise ValueError(f"round {number} is not planned; the plan has {len(self._plan.rounds)} rounds")
        return self._plan.rounds[number - 1]

    def cohort(self, turn: int) -> tuple[str, ...]:
        """Sites whose frames `turn` merges, in order."""
        return next(cohort.sites for cohort in reversed(self.cohorts) if cohort.from_turn <= turn)

    def form_of(self, turn: int) -> UpdateFormat:
        """The format of every site's frame of `turn`."""
        where = self.where(turn)
        # With nobody left to send to, nothing need be lost, and what was held back is merged.
        bits = self._bits if len(self.cohort(turn)) > 1 else 32
        return UpdateFormat(where.stop - where.start, self._dtype, bits)

    def is_identity(self, turn: int) -> bool:
        """Whether `turn` just takes over what this site has.

        Then g - (g - theta) is theta but for rounding, and training alone must not be changed by that either.
        """
        settings = self.settings(turn)
        return len(self.cohorts[0].sites) == 1 and settings.lr == 1 and settings.momentum == 0

    def quantise(self, turn: int, snapshot: Tensor) -> Quantised:
        """What this site sends in `turn`: `g - snapshot + residual`; the residual is what that lacks afterwards.

        What does not fit into the residual is added to `snapshot`, as `Residual.send` has it.

        Raises:
            NonFiniteError: a value is not finite; the residual is spoilt.
        """
        where = self.where(turn)
        shared = self.optimizer.parameters[where]
        if self._residual is None:
            return exact(torch.sub(shared, snapshot))
        is_last = round_of(turn, len(self.fragments)) == len(self._plan.rounds)
        return self._residual.send(self.form_of(turn), where, shared, snapshot, is_last=is_last)

    def merge(self, turn: int, frames: Sequence[Frame], snapshot: Tensor) -> str:
        """Take the outer step of `turn` with `frames`, those of its cohort in order. Returns the fragment's digest.

        To set `merged` is the caller's: other threads take it for done then.
        """
        where, fragment = self.where(turn), self.fragment(turn)
        if self.is_identity(turn):
            self.optimizer.parameters[where].copy_(snapshot)
        else:
            settings = self.settings(turn)
            updates = [(frame.update, frame.header.samples) for frame in frames]
            self.optimizer.merge(updates, where, settings.lr, settings.momentum)
        self.histories[fragment] = next_history(self.histories[fragment], frames)
        return self.digest(fragment)

    def digest(self, fragment: int) -> str:
        """SHA-256 of the fragment's parameters and momentum."""
        where = self.fragments[fragment]
        return state_digest(self.optimizer.parameters[where], self.optimizer.momentum[where])

    def digests(self) -> list[str]:
        """`digest` of every fragment."""
        return [self.digest(index) for index in range(len(self.fragments))]

    def tensors(self) -> dict[str, Tensor]:
        """`parameters`, `momentum` if some round has any, `residual` if sending loses anything: each [P], not copied.

        The residual has half the parameters' width.
        """
        tensors = {PARAMETERS: self.optimizer.parameters, MOMENTUM: self.optimizer.momentum}
        if self._residual is not None:
            tensors[RESIDUAL] = self._residual.values
        return {name: tensor for name, tensor in tensors.items() if tensor.numel()}

    def shared_tensors(self) -> dict[str, Tensor]:
        """Those that are the same at every site."""
        return {name: tensor for name, tensor in self.tensors().items() if name != RESIDUAL}

    def load_tensors(self, state: Mapping[str, Tensor], *, keeps_residual: bool = True) -> None:
        """Take over the tensors in `state`; the residual begins anew unless `keeps_residual`.

        Raises:
            ValueError: one is missing or does not fit; nothing has changed.
        """
        wanted = self.tensors() if keeps_residual else self.shared_tensors()
        for name, tensor in wanted.items():
            if name not in state or state[name].shape != tensor.shape or state[name].dtype != tensor.dtype:
                raise ValueError(f"state has no {name} of {tensor.dtype} {list(tensor.shape)}")
        for name, tensor in wanted.items():
            tensor.copy_(state[name])
        if self._residual is not None and not keeps_residual:
            self._residual.values.zero_()

    def set_cohort(self, cohort: Cohort, own: Iterable[Frame]) -> None:
        """Merge the frames of `cohort` from its turn on; `own` are this site's frames that wait for others.

        Raises:
            ValueError: the turn is merged already, or its frame is not what the new cohort expects.
        """
        if cohort.from_turn <= self.merged:
            raise ValueError(f"a cohort from turn {cohort.from_turn} on; {self.merged} turns are merged already")
        for frame in own:
            if frame.turn >= cohort.from_turn and len(cohort.sites) > 1 and frame.header.bits != self._bits:
                raise ValueError(f"a cohort from turn {cohort.from_turn} on; turn {frame.turn} was begun alone")
        self.cohorts = [*(earlier for earlier in self.cohorts if earlier.from_turn < cohort.from_turn), cohort]

    def load(self, state: Mapping[str, Tensor], progress: Progress, *, keeps_residual: bool = True) -> None:
        """Take over the tensors in `state`, and `progress`. Raises `ValueError` as `load_tensors` does."""
        self.load_tensors(state, keeps_residual=keeps_residual)
        self.merged = progress.merged
        self.histories = list(progress.histories)
        self.cohorts = list(progress.cohorts)

    def restart(self, *, after_turn: int) -> None:
        """Go on after `after_turn` with histories that begin with the state as it is now."""
        self.merged = after_turn
        cohort = self.cohorts[-1].sites
        self.histories = [
            first_history(digest, index, cohort, self._plan) for index, digest in enumerate(self.digests())
        ]
