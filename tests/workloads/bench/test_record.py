"""Rows that are measured one at a time come together in one file."""

import datetime as dt
import json

import pytest

from tests.bench.wan.menu import DDP, FAST, NO_LINK, SLOW, SYNC_MUON, THIS
from tests.bench.wan.record import Record, add, read, write
from tests.workloads.bench.rows import MACHINE, NOON, circumstances, good_loss, good_speed, loss_row, speed_row
from workloads.spec.errors import UserError
from workloads.spec.facts import Calibration


def test_a_row_is_merged_without_losing_the_others():
    record = Record()
    for row in (*good_speed().values(), *good_loss().values()):
        record = record.with_row(row, MACHINE)
    assert {(row.link, row.method): row for row in record.speed} == good_speed()
    assert {row.method: row for row in record.loss} == good_loss()


def test_a_row_takes_the_place_of_the_one_with_its_key_and_keeps_its_place():
    record = Record()
    for row in good_speed().values():
        record = record.with_row(row, MACHINE)
    again = record.with_row(speed_row(THIS, FAST, steps_per_s=1.5), MACHINE)
    assert [row.key for row in again.speed] == [row.key for row in record.speed]
    assert [row.steps_per_s for row in again.speed if row.key == speed_row(THIS, FAST).key] == [1.5]


@pytest.mark.parametrize(
    "other",
    [speed_row(THIS, SLOW), speed_row(DDP.name), speed_row(THIS, setting="H=20 int8 tau=0 F=1"), loss_row(THIS, 1.2)],
)
def test_another_link_method_setting_or_stage_is_another_row(other):
    record = Record().with_row(speed_row(THIS, FAST), MACHINE).with_row(other, MACHINE)
    assert len(record.speed) + len(record.loss) == 2


def test_a_run_is_forgotten_with_its_last_row():
    record = Record().with_row(speed_row(THIS, circumstances=circumstances("one")), MACHINE)
    record = record.with_row(speed_row(DDP.name, circumstances=circumstances("two")), MACHINE)
    assert record.runs == {"one": MACHINE, "two": MACHINE}
    record = record.with_row(speed_row(THIS, circumstances=circumstances("three")), MACHINE)
    assert record.runs.keys() == {"two", "three"}


def test_the_file_holds_rows_and_bars_and_gives_the_rows_back(tmp_path):
    path = tmp_path / "wan.json"
    speed = Calibration(flops=1e11, peak_flops=1.2e11, bf16_flops=2e11, copy_bytes_s=3e10, operation_s=7e-6)
    write(path, Record(machine_speed=speed))
    for row in (*good_speed().values(), *good_loss().values()):
        record = add(path, row, MACHINE)
    assert read(path) == record
    assert record.machine_speed == speed
    document = json.loads(path.read_text())
    assert document["bars"]["bytes_of_ddp"]["ok"]
    assert len(document["beside"]) == len(document["speed"])
    there = document["speed"][0]["circumstances"]
    assert dt.datetime.fromisoformat(there["begun"]) == NOON
    assert (there["load_before"], there["load_after"]) == (0.1, 2.0)


def test_bars_follow_from_all_rows_in_the_file_whichever_was_measured_last(tmp_path):
    path = tmp_path / "wan.json"
    add(path, speed_row(THIS, FAST), MACHINE)
    assert json.loads(path.read_text())["bars"] == {}
    add(path, speed_row(NO_LINK.name, FAST, circumstances=circumstances("two")), MACHINE)
    assert json.loads(path.read_text())["bars"]["speed_at_100_mbps_of_no_link"]["ok"]


def test_no_file_is_an_empty_record(tmp_path):
    assert read(tmp_path / "wan.json") == Record()


def test_a_file_of_another_version_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "wan.json"
    path.write_text(json.dumps({"speed": {"rows": []}, "bars": {}}))
    with pytest.raises(UserError, match="--fresh"):
        read(path)


def test_a_loss_row_of_a_synchronous_method_belongs_to_no_link():
    assert loss_row(SYNC_MUON, 1.2).key == ("-", SYNC_MUON, "every step")
