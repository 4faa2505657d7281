"""Figures of a row, and what is worked out from several. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from pydantic import AwareDatetime

from tests.bench.wan.jobs import Job, Look, Outcome
from tests.bench.wan.menu import DDP, NO_LINK
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError


class Circumstances(Frozen):
    """When a row was measured, and beside what."""

    run: str  # of the benchmark: rows of one run were measured one after another
    begun: AwareDatetime
    ended: AwareDatetime
    load_before: float  # the machine's, in the minute before
    load_after: float  # in the last minute: near 2 with nothing else going on, a thread a site


class Row(Frozen):
    """One method on one link, or for one."""

    link: str
    method: str
    setting: str
    circumstances: Circumstances

    @property
    def key(self) -> tuple[str, str, str]:
        """What it replaces another row of its stage by."""
        return self.link, self.method, self.setting


class SpeedRow(Row):
    """Rates hold for where the method runs as it will go on, over whole periods."""

    parameters: int
    steps: int
    measured_steps: int
    steps_per_s: float
    mb_per_step: float | None  # in one direction, IP headers and acknowledgements included
    peak_mb: float  # resident, of one site
    extra_mb: float  # of those, beyond the libraries and the model itself
    looks: tuple[Look, ...]


class Comparison(Frozen):
    """What a speed row is beside the others of its link."""

    link: str
    method: str
    setting: str
    of_no_link: float | None  # steps a second
    target_loss: float | None  # what DDP comes to in its time
    time_to_loss_s: float | None  # None: not within its run, or not looked at
    common_step: int | None
    loss_at_common_step: float | None


class LossRow(Row):
    """A method after as many samples as the others. `link` is the one that it is set for, `-` where none matters."""

    steps: int
    loss: float
    outer: str  # settings of the first and the last round; `-` where there are none
    looks: tuple[Look, ...]
    seconds: float
    peak_mb: float


def speed_row(job: Job, link: str, outcomes: tuple[Outcome, Outcome], circumstances: Circumstances) -> SpeedRow:
    """The figures of a job.

    Raises:
        UserError: it was too short for a rate.
    """
    first = outcomes[0]
    # the last merge of a run has no training to hide behind
    marks = first.marks[:-1] if job.method.kind == "isthmus" else first.marks
    if len(marks) < 2:
        raise UserError(f"{job.method.name} on {link}: {len(marks)} merges are too few to measure; raise its limit")
    steps = marks[-1].step - marks[0].step
    carried_mb = (marks[-1].link_bytes - marks[0].link_bytes) / 2 / 1e6
    return SpeedRow(
        link=link,
        method=job.method.name,
        setting=job.method.setting,
        circumstances=circumstances,
        parameters=first.parameters,
        steps=first.steps,
        measured_steps=steps,
        steps_per_s=steps / (marks[-1].at_s - marks[0].at_s),
        mb_per_step=carried_mb / steps if job.counters else None,
        peak_mb=max(outcome.peak_bytes for outcome in outcomes) / 1e6,
        extra_mb=max(outcome.peak_bytes - outcome.start_bytes for outcome in outcomes) / 1e6,
        looks=all_looks(outcomes),
    )


def loss_row(
    job: Job, link: str, name: str, outer: str, outcomes: tuple[Outcome, Outcome], circumstances: Circumstances
) -> LossRow:
    """The figures of a job."""
    looks = all_looks(outcomes)
    return LossRow(
        link=link,
        method=name,
        setting=job.method.setting,
        circumstances=circumstances,
        steps=outcomes[0].steps,
        loss=looks[-1].loss,
        outer=outer,
        looks=looks,
        seconds=outcomes[0].seconds,
        peak_mb=max(outcome.peak_bytes for outcome in outcomes) / 1e6,
    )


def compare(rows: Sequence[SpeedRow]) -> list[Comparison]:
    """Every row beside those of its link."""
    return [_beside(row, newest([other for other in rows if other.link == row.link])) for row in rows]


Kind = TypeVar("Kind", bound=Row)


def newest(rows: Sequence[Kind]) -> list[Kind]:
    """One row for each method and link: of those with several settings, the one that was measured last."""
    by_method: dict[tuple[str, str], Kind] = {}
    for row in sorted(rows, key=lambda row: row.circumstances.ended):
        by_method[row.link, row.method] = row
    return [row for row in rows if row is by_method[row.link, row.method]]


def _beside(row: SpeedRow, rows: Sequence[SpeedRow]) -> Comparison:
    by_method = {other.method: other for other in rows}
    plain, ddp = by_method.get(NO_LINK.name), by_method.get(DDP.name)
    target = min((look.loss for look in ddp.looks), default=None) if ddp else None
    # DDP is not awaited here: it comes to a few dozen steps
    common = min((other.looks[-1].step for other in rows if other.looks and other is not ddp), default=None)
    return Comparison(
        link=row.link,
        method=row.method,
        setting=row.setting,
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
