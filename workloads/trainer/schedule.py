"""When the turns of a plan are due, and which epoch a round belongs to. Pure: steps and rounds, no clock."""

import math
from dataclasses import dataclass
from itertools import accumulate

from workloads.spec.plan import Plan
from workloads.spec.recipe import TrainSpec


def due_steps(plan: Plan) -> tuple[int, ...]:
    """Inner steps made when each turn is due, turn 1 first.

    Fragment f of F in a round of H steps is due `ceil(H (f + 1) / F)` steps into it (Streaming DiLoCo, arXiv 2501.18512,
    section 2.1), so the last at its end. In the last round all are due at its end: sites would end apart otherwise.
    """
    ends = list(accumulate(part.steps for part in plan.rounds))
    starts = [0, *ends[:-1]]
    spread = [
        start + math.ceil(part.steps * (fragment + 1) / plan.fragments)
        for start, part in zip(starts, plan.rounds, strict=True)
        for fragment in range(plan.fragments)
    ]
    return (*spread[: -plan.fragments], *(ends[-1] for _ in range(plan.fragments)))


def round_epochs(train: TrainSpec, plan: Plan) -> tuple[int, ...]:
    """The epoch, counted from 1, that each round begins in."""
    starts = accumulate((part.steps for part in plan.rounds[:-1]), initial=0)
    return tuple(start * train.epochs // plan.steps + 1 for start in starts)


@dataclass(frozen=True)
class Schedule:
    """The turns of a plan at a site that may have fallen behind it.

    `delay` are the steps by which turns are begun later than planned: in an outage a site trains on, and what it makes
    then comes on top. So no turn is begun with less than its planned steps.
    """

    due: tuple[int, ...]
    overlap_steps: int
    fragments: int

    @classmethod
    def of(cls, plan: Plan) -> "Schedule":
        """The schedule of `plan`."""
        return cls(due_steps(plan), plan.overlap_steps, plan.fragments)

    @property
    def turns(self) -> int:
        """Of the whole run."""
        return len(self.due)

    def begins_at(self, turn: int, delay: int) -> int:
        """The step at which `turn` is begun; of turn 0 the start."""
        return self.due[turn - 1] + delay if turn else 0

    def commits_at(self, turn: int, begun_at: int, delay: int) -> int:
        """The step at which `turn`, begun at step `begun_at`, is committed if its frames are there.

        That is `overlap_steps` later, or when the same fragment's next turn is due, if that is sooner: in short rounds.
        """
        after = turn + self.fragments
        planned = begun_at + self.overlap_steps
        return planned if after > self.turns else min(planned, self.begins_at(after, delay))
