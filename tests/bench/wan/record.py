"""All rows that were measured so far, whatever run they are from. Pure but for reading and writing the file."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tests.bench.wan.judging import judge
from tests.bench.wan.results import Kind, LossRow, SpeedRow, compare
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError
from workloads.spec.facts import Calibration

_FOLLOWS = ("beside", "bars")  # from the rows


class Machine(Frozen):
    """What a run was made on."""

    cores: int
    kernel: str
    congestion_control: str
    torch: str
    torchft: str


class Record(Frozen):
    """Rows by stage, the runs that they are from, and the speed of a core, which settings are planned from."""

    machine_speed: Calibration | None = None
    runs: dict[str, Machine] = Field(default_factory=dict)
    speed: tuple[SpeedRow, ...] = ()
    loss: tuple[LossRow, ...] = ()

    def with_row(self, row: SpeedRow | LossRow, machine: Machine) -> "Record":
        """The record with `row` in place of one of the same key; runs of which nothing is left are forgotten."""
        speed, loss = self.speed, self.loss
        if isinstance(row, SpeedRow):
            speed = _replaced(speed, row)
        else:
            loss = _replaced(loss, row)
        runs = {**self.runs, row.circumstances.run: machine}
        kept = {each.circumstances.run for each in (*speed, *loss)}
        return Record(
            machine_speed=self.machine_speed,
            runs={run: known for run, known in runs.items() if run in kept},
            speed=speed,
            loss=loss,
        )

    def document(self) -> dict[str, Any]:
        """What is written: the record, and what follows from it for those who read the file."""
        return {
            **self.model_dump(mode="json"),
            "beside": [comparison.model_dump() for comparison in compare(self.speed)],
            "bars": {name: bar.model_dump() for name, bar in judge(self.speed, self.loss).items()},
        }


def read(path: Path) -> Record:
    """The record in `path`, an empty one if there is none.

    Raises:
        UserError: what is there was written by another version.
    """
    if not path.exists():
        return Record()
    document = json.loads(path.read_text(encoding="utf-8"))
    try:
        return Record.model_validate({key: value for key, value in document.items() if key not in _FOLLOWS})
    except ValidationError:
        raise UserError(f"{path} was written by another version; begin anew with --fresh") from None


def add(path: Path, row: SpeedRow | LossRow, machine: Machine) -> Record:
    """Merge `row` into the record in `path`: of two runs at once, neither takes the other's rows away."""
    with _alone(path):
        record = read(path).with_row(row, machine)
        write(path, record)
    return record


def write(path: Path, record: Record) -> None:
    """Whole or not at all."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(record.document(), indent=2) + "\n", encoding="utf-8")
    scratch.replace(path)


def _replaced(rows: tuple[Kind, ...], row: Kind) -> tuple[Kind, ...]:
    if row.key not in {other.key for other in rows}:
        return (*rows, row)
    return tuple(row if other.key == row.key else other for other in rows)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
