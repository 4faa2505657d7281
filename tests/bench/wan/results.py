"""Figures of a run, and what is worked out from them. Pure."""

from collections.abc import Sequence
from itertools import pairwise

from tests.bench.wan.jobs import Job, Look, Outcome
from tests.bench.wan.menu import DDP, NO_LINK
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError


class SpeedRow(Frozen):
    """One method on one link. Rates hold for where the method runs as it will go on, over whole periods."""

    link: str
    method: str
    parameters: int
    steps: int
    measured_steps: int
    steps_per_s: float
    mb_per_step: float | None  # in one direction, IP headers and acknowledgements included
    peak_mb: float  # resident, of one site
    extra_mb: float  # of those, beyond the libraries and the model itself
    looks: tuple[Look, ...]
    machine_load: float  # in the minute before


class Comparison(Frozen):
    """What a speed row is beside the others of its link."""

    link: str
    method: str
    of_no_link: float | None  # steps a second
    target_loss: float | None  # what DDP comes to in its time
    time_to_loss_s: float | None  # None: not within its run, or not looked at
    common_step: int | None
    loss_at_common_step: float | None


class LossRow(Frozen):
    """One method after as many samples as the others."""

    method: str
    steps: int
    loss: float
    looks: tuple[Look, ...]
    seconds: float
    peak_mb: float
    machine_load: float


def speed_row(job: Job, link: str, outcomes: tuple[Outcome, Outcome], load: float) -> SpeedRow:
    """The figures of a job.

    Raises:
        UserError: it was too short for a rate.
    """
    first = outcomes[0]
    # the last merge of a run has no training to hide behind
    marks = first.marks[:-1] if job.method.overlap_steps else first.marks
    if len(marks) < 2:
        raise UserError(f"{job.method.name} on {link}: {len(marks)} merges are too few to measure; raise its limit")
    steps = marks[-1].step - marks[0].step
    carried_mb = (marks[-1].link_bytes - marks[0].link_bytes) / 2 / 1e6
    return SpeedRow(
        link=link,
        method=job.method.name,
        parameters=first.parameters,
        steps=first.steps,
        measured_steps=steps,
        steps_per_s=steps / (marks[-1].at_s - marks[0].at_s),
        mb_per_step=carried_mb / steps if job.counters else None,
        peak_mb=max(outcome.peak_bytes for outcome in outcomes) / 1e6,
        extra_mb=max(outcome.peak_bytes - outcome.start_bytes for outcome in outcomes) / 1e6,
        looks=all_looks(outcomes),
        machine_load=load,
    )


def loss_row(label: str, outcomes: tuple[Outcome, Outcome], load: float) -> LossRow:
    """The figures of a job."""
    looks = all_looks(outcomes)
    return LossRow(
        method=label,
        steps=outcomes[0].steps,
        loss=looks[-1].loss,
        looks=looks,
        seconds=outcomes[0].seconds,
        peak_mb=max(outcome.peak_bytes for outcome in outcomes) / 1e6,
        machine_load=load,
    )


def compare(rows: Sequence[SpeedRow]) -> list[Comparison]:
    """Every row beside those of its link."""
    return [_beside(row, [other for other in rows if other.link == row.link]) for row in rows]


def _beside(row: SpeedRow, rows: Sequence[SpeedRow]) -> Comparison:
    by_method = {other.method: other for other in rows}
    plain, ddp = by_method.get(NO_LINK.name), by_method.get(DDP.name)
    target = min((look.loss for look in ddp.looks), default=None) if ddp else None
    # DDP is not awaited here: it comes to a few dozen steps
    common = min((other.looks[-1].step for other in rows if other.looks and other is not ddp), default=None)
    return Comparison(
        link=row.link,
        method=row.method,
        of_no_link=row.steps_per_s / plain.steps_per_s if plain else None,
        target_loss=target,
        time_to_loss_s=None if target is None else time_to(target, row.looks),
        common_step=common,
        loss_at_common_step=None if common is None else loss_at(common, row.looks),
    )


def all_looks(outcomes: Sequence[Outcome]) -> tuple[Look, ...]:
    """Both sites' looks in order."""
    return tuple(sorted((look for outcome in outcomes for look in outcome.looks), key=lambda look: look.step))


def time_to(loss: float, looks: Sequence[Look]) -> float | None:
    """Seconds until the loss was first as low as `loss`, straight lines between looks; None: it never was."""
    if looks and looks[0].loss <= loss:
        return looks[0].at_s
    for before, after in pairwise(looks):
        if after.loss <= loss:
            share = (before.loss - loss) / (before.loss - after.loss)
            return before.at_s + share * (after.at_s - before.at_s)
    return None


def loss_at(step: int, looks: Sequence[Look]) -> float | None:
    """Loss after `step` steps, straight lines between looks; None: not trained so far, or not looked at before."""
    for before, after in pairwise(looks):
        if before.step <= step <= after.step:
            return before.loss + (after.loss - before.loss) * (step - before.step) / (after.step - before.step)
    return None
