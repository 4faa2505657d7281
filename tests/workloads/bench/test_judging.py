"""Every bar of the benchmark over an emulated link passes with a good value and fails with a bad one."""

import datetime as dt

import pytest

from tests.bench.wan.judging import Bar, judge
from tests.bench.wan.menu import DDP, FAR, FAST, NO_LINK, SLOW, SYNC_MUON, THIS, THIS_MUON, TORCHFT_ADAMW
from tests.workloads.bench.rows import NOON, TORCHFT, circumstances, falling, good_loss, good_speed, loss_row, speed_row

FAST_THIS, SLOW_THIS, FAR_THIS = (str(FAST), THIS), (str(SLOW), THIS), (str(FAR), THIS)
# a bar, the row that spoils it, and that row's figures that do
SPOILT_SPEED = [
    ("speed_at_100_mbps_of_no_link", FAST_THIS, {"steps_per_s": 1.89}),
    ("speed_at_20_mbps_of_no_link", SLOW_THIS, {"steps_per_s": 1.79}),
    ("bytes_of_ddp", FAST_THIS, {"mb_per_step": 0.106}),
    ("speed_of_torchft_least_of_links", FAR_THIS, {"steps_per_s": 1.19}),
    ("extra_memory_in_parameters", FAST_THIS, {"extra_mb": 521.0}),
    ("time_to_loss_of_ddp", FAST_THIS, {"looks": falling(130, 2.9)}),
    ("time_to_loss_of_torchft", FAST_THIS, {"looks": falling(120, 2.9)}),
]
SPOILT_LOSS = [
    ("loss_of_synchronous_muon", THIS_MUON, 1.225),
    ("loss_of_synchronous_adamw", THIS_MUON, 1.291),
    ("distance_of_torchft", TORCHFT_ADAMW, 1.31),
]


def judged(speed=None, loss=None) -> dict[str, Bar]:
    return judge([*(good_speed() if speed is None else speed).values()], [*(loss or good_loss()).values()])


def test_good_figures_pass_every_bar_without_reservation():
    bars = judged()
    assert bars.keys() == {name for name, *_ in (*SPOILT_SPEED, *SPOILT_LOSS)}
    assert all(bar.ok and not bar.note for bar in bars.values())


@pytest.mark.parametrize(("name", "key", "changes"), SPOILT_SPEED)
def test_a_speed_that_is_not_enough_fails_its_bar(name, key, changes):
    rows = good_speed()
    rows[key] = rows[key].model_copy(update=changes)
    bar = judged(rows)[name]
    assert not bar.ok
    assert bar.value != bar.bar


@pytest.mark.parametrize(("name", "method", "loss"), SPOILT_LOSS)
def test_a_loss_that_is_not_low_enough_fails_its_bar(name, method, loss):
    assert not judged(loss={**good_loss(), method: loss_row(method, loss)})[name].ok


@pytest.mark.parametrize("missing", [*good_speed()])
def test_without_a_row_the_bars_that_can_do_without_it_stand(missing):
    rows = good_speed()
    del rows[missing]
    bars = judged(rows)
    assert bars.keys() <= judged().keys()
    assert all(bar.ok for bar in bars.values())


def test_a_bar_that_lacks_a_row_is_left_out():
    rows = good_speed()
    del rows[str(FAST), DDP.name]
    assert judged().keys() - judged(rows).keys() == {
        "bytes_of_ddp",
        "time_to_loss_of_ddp",
        "time_to_loss_of_torchft",
    }


def test_no_rows_make_no_bars():
    assert judge([], []) == {}


def test_a_loss_that_was_never_reached_misses_its_bars_however_short_the_run_was():
    rows = good_speed()
    rows[FAST_THIS] = rows[FAST_THIS].model_copy(update={"looks": falling(10, 4.0)})
    bars = judged(rows)
    for name in ("time_to_loss_of_ddp", "time_to_loss_of_torchft"):
        assert bars[name].value < bars[name].bar
        assert not bars[name].ok
        assert "never got there" in bars[name].note


def test_a_peer_that_never_reached_the_loss_counts_as_if_it_had_at_its_end():
    rows = good_speed()
    key = (str(FAST), TORCHFT)
    rows[key] = rows[key].model_copy(update={"looks": falling(110, 4.0)})
    assert judged(rows)["time_to_loss_of_torchft"].value == pytest.approx(60 * (5 - 2.9) / (5 - 2.5) / 110)


def test_a_peer_without_a_distance_of_its_own_makes_no_bar():
    losses = {**good_loss(), TORCHFT_ADAMW: loss_row(TORCHFT_ADAMW, 1.28)}
    assert "distance_of_torchft" not in judged(loss=losses)


def test_rows_of_different_runs_that_lie_more_than_an_hour_apart_are_marked():
    rows = good_speed()
    late = circumstances("two", NOON + dt.timedelta(hours=3))
    rows[str(FAST), NO_LINK.name] = rows[str(FAST), NO_LINK.name].model_copy(update={"circumstances": late})
    bars = judged(rows)
    assert bars["speed_at_100_mbps_of_no_link"].note == "rows 3.0 h apart"
    assert bars["speed_at_100_mbps_of_no_link"].ok
    assert not bars["bytes_of_ddp"].note


@pytest.mark.parametrize(("run", "hours"), [("two", 0.5), ("one", 3)])
def test_rows_within_an_hour_or_of_the_same_run_are_not(run, hours):
    losses = good_loss()
    late = circumstances(run, NOON + dt.timedelta(hours=hours))
    losses[SYNC_MUON] = losses[SYNC_MUON].model_copy(update={"circumstances": late})
    assert not judged(loss=losses)["loss_of_synchronous_muon"].note


def test_a_loss_of_another_setting_than_the_speed_s_is_marked():
    losses = {**good_loss(), THIS_MUON: loss_row(THIS_MUON, 1.21, setting="H=52 int4 tau=9 F=1")}
    for name in ("loss_of_synchronous_muon", "loss_of_synchronous_adamw", "distance_of_torchft"):
        assert "tau=9" in judged(loss=losses)[name].note


def test_of_two_settings_the_one_that_was_measured_last_is_judged():
    slow = speed_row(THIS, FAST, steps_per_s=1.0, setting="H=20 int8 tau=2 F=1")
    earlier = slow.model_copy(update={"circumstances": circumstances(begun=NOON - dt.timedelta(minutes=5))})
    later = slow.model_copy(update={"circumstances": circumstances(begun=NOON + dt.timedelta(minutes=5))})
    rows = [*good_speed().values()]
    assert judge([*rows, earlier], [])["speed_at_100_mbps_of_no_link"].ok
    assert not judge([later, *rows], [])["speed_at_100_mbps_of_no_link"].ok
