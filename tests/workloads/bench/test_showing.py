"""Tables and the plot show whatever rows there are."""

import pytest

from tests.bench.wan.judging import judge
from tests.bench.wan.menu import FAST, THIS
from tests.bench.wan.showing import draw, show, told
from tests.workloads.bench.rows import good_loss, good_speed, loss_row, speed_row

SETS = {
    "all": ([*good_speed().values()], [*good_loss().values()]),
    "one row of speed": ([speed_row(THIS, FAST)], []),
    "loss alone": ([], [*good_loss().values()]),
    "a link other than the first": ([row for row in good_speed().values() if row.link != str(FAST)], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize("name", SETS)
def test_any_set_of_rows_is_shown_and_drawn(name, tmp_path, capsys):
    speed, loss = SETS[name]
    show(speed, loss, judge(speed, loss))
    draw(speed, loss, tmp_path / "plot.png")
    said = capsys.readouterr().out
    assert all(row.method[:10] in said and row.setting in said for row in (*speed, *loss))
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_the_time_and_the_machine_s_load_stand_beside_a_row(capsys):
    show([speed_row()], [], {})
    assert "01-01 12:00" in (said := capsys.readouterr().out)
    assert "0.1, 2.0" in said


def test_a_missed_bar_and_its_reservation_are_seen(capsys):
    rows = good_speed()
    rows[str(FAST), THIS] = speed_row(THIS, FAST, steps_per_s=1.0)
    show([], [], judge([*rows.values()], []))
    assert "missed" in capsys.readouterr().out


def test_a_row_is_told_in_a_line():
    assert told(speed_row()) == "100 Mbit/s 30 ms: this: 2.000 steps/s over 104 steps"
    assert told(loss_row("this, Muon", 1.21)) == "this, Muon: loss 1.2100 after 1600 steps"
