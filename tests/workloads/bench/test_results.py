"""Figures of a row follow from what both sites saw."""

import datetime as dt
from pathlib import Path

import pytest

from tests.bench.wan.jobs import Job, Look, Mark, Method, Outcome
from tests.bench.wan.menu import DDP, FAST, NO_LINK, SPEED, THIS
from tests.bench.wan.results import compare, loss_at, loss_row, newest, speed_row, time_to
from tests.workloads.bench.rows import NOON, circumstances, falling, good_speed
from tests.workloads.bench.rows import speed_row as row_of
from workloads.spec.errors import UserError

OURS = Method(name=THIS, kind="isthmus", period=50, overlap_steps=2, bits=4, fragments=8)
LOOKS = (Look(step=10, at_s=10, loss=4.0), Look(step=20, at_s=20, loss=3.0), Look(step=30, at_s=30, loss=3.5))


def job_of(method: Method, *, over_a_link: bool = True) -> Job:
    return Job(
        folder=Path("job"),
        task=SPEED,
        method=method,
        steps=200,
        limit_s=None,
        snapshot_every=None,
        hosts=("127.0.0.1", "127.0.0.1"),
        ports=(1024, 1025, 1026, 1027),
        device="lo",
        counters=Path("counters") if over_a_link else None,
        credentials=None,
    )


def outcome(*marks: tuple[int, float, int], looks: tuple[Look, ...] = LOOKS, peak: int = 700) -> Outcome:
    return Outcome(
        marks=tuple(Mark(step=step, at_s=at_s, link_bytes=count) for step, at_s, count in marks),
        looks=looks,
        parameters=1000,
        steps=200,
        seconds=100.0,
        peak_bytes=peak * 10**6,
        start_bytes=500 * 10**6,
    )


def test_rates_are_between_the_first_mark_and_the_last():
    there = outcome((2, 4.0, 10**6), (12, 24.0, 41 * 10**6))
    row = speed_row(job_of(DDP), str(FAST), (there, outcome(looks=(), peak=800)), circumstances())
    assert row.steps_per_s == pytest.approx(0.5)
    assert row.mb_per_step == pytest.approx(40 / 2 / 10)  # of both directions, one
    assert (row.measured_steps, row.peak_mb, row.extra_mb) == (10, 800, 300)
    assert row.looks == LOOKS


def test_the_last_merge_of_a_run_of_ours_does_not_count():
    there = outcome((50, 25.0, 10**6), (100, 50.0, 3 * 10**6), (150, 99.0, 9 * 10**6))
    row = speed_row(job_of(OURS), str(FAST), (there, there), circumstances())
    assert row.steps_per_s == pytest.approx(2.0)
    assert row.setting == "H=50 int4 tau=2 F=8"


def test_without_a_link_there_are_no_bytes():
    there = outcome((2, 4.0, 0), (12, 24.0, 0))
    assert speed_row(job_of(NO_LINK, over_a_link=False), "-", (there, there), circumstances()).mb_per_step is None


def test_too_few_merges_are_refused_and_say_so():
    there = outcome((50, 25.0, 0), (100, 50.0, 0))
    with pytest.raises(UserError, match="1 merges are too few"):
        speed_row(job_of(OURS), str(FAST), (there, there), circumstances())


def test_the_loss_is_that_of_the_last_look_of_either_site():
    late = outcome(looks=(Look(step=40, at_s=40, loss=2.5),))
    row = loss_row(job_of(OURS), str(FAST), "this, Muon", "1/0, 4 rounds", (outcome(), late), circumstances())
    assert row.loss == 2.5
    assert [look.step for look in row.looks] == [10, 20, 30, 40]


@pytest.mark.parametrize(("loss", "at_s"), [(4.5, 10), (4.0, 10), (3.5, 15), (3.0, 20), (2.9, None)])
def test_time_to_a_loss_is_on_the_straight_line_to_where_it_was_first_reached(loss, at_s):
    assert time_to(loss, LOOKS) == (None if at_s is None else pytest.approx(at_s))


def test_without_looks_no_loss_is_ever_reached():
    assert time_to(1.0, ()) is None


@pytest.mark.parametrize(("step", "loss"), [(10, 4.0), (15, 3.5), (25, 3.25), (9, None), (31, None)])
def test_loss_at_a_step_is_on_the_straight_line_between_looks(step, loss):
    assert loss_at(step, LOOKS) == loss


def test_the_target_is_what_ddp_comes_to_on_the_same_link():
    beside = {(each.link, each.method): each for each in compare([*good_speed().values()])}
    ours = beside[str(FAST), THIS]
    assert ours.target_loss == 2.9
    assert ours.time_to_loss_s == pytest.approx(60 * 2.1 / 2.5)
    assert ours.of_no_link == pytest.approx(0.99)
    assert (ours.common_step, ours.loss_at_common_step) == (100, 2.5)


def test_without_ddp_and_no_link_beside_it_a_row_still_stands():
    (alone,) = compare([row_of(THIS, looks=falling(60, 2.5))])
    assert (alone.of_no_link, alone.target_loss, alone.time_to_loss_s) == (None, None, None)


def test_the_newest_row_of_a_method_and_link_speaks_for_it():
    old = row_of(THIS, setting="H=20 int8 tau=0 F=1", circumstances=circumstances(begun=NOON - dt.timedelta(days=1)))
    new = row_of(THIS)
    assert newest([new, old]) == newest([old, new]) == [new]
