"""`python -m tests.bench.wan`: measure rows, merge them into `wan.json`, and show all that are there, with a plot.

Every row can be measured alone, on a machine that has time for one now and then:
`--stage speed --link '100 Mbit/s 30' --method this`. `--plan` says what would be measured, and how long each row takes.
"""

import argparse
import datetime as dt
import os
import platform
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tests.bench.wan.judging import judge
from tests.bench.wan.lasting import Pace, expected_s
from tests.bench.wan.link import build, ensure_possible
from tests.bench.wan.menu import NO_LINK, Item, full, quick, select
from tests.bench.wan.product import BITS, STEPS, Wishes, calibrate, parameters, step_s
from tests.bench.wan.record import Machine, Record, add, read, write
from tests.bench.wan.running import ROOT
from tests.bench.wan.showing import draw, show, told
from tests.bench.wan.stages import measure
from workloads.spec.errors import UserError
from workloads.spec.facts import Calibration

_RESULTS = ROOT / ".state" / "bench"


def main() -> None:
    """The command line."""
    chosen = _arguments()
    # whatever it was started by: an end is always in order
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(chosen)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; all that was started has been ended, and the rows that were measured are kept")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.bench.wan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", choices=("speed", "loss"), help="rows of one stage alone")
    parser.add_argument("--method", action="append", help="a method's name, or a part of names; may be repeated")
    parser.add_argument("--link", action="append", help="a link's name, or a part of names; may be repeated")
    parser.add_argument("--plan", action="store_true", help="say what would be measured, as commands of one row each")
    parser.add_argument("--fresh", action="store_true", help="forget all rows that were measured earlier")
    parser.add_argument("--quick", action="store_true", help="a small model and few steps, to see that all parts work")
    ours = parser.add_argument_group("this product's setting", "what is not given is chosen by its planner")
    ours.add_argument("--steps", type=int, default=STEPS, help="steps between two merges (H)")
    ours.add_argument("--bits", type=int, choices=(2, 4, 8, 32), default=BITS, help="bits a value on the link")
    ours.add_argument("--overlap-steps", type=int, help="steps that are made while frames travel (tau)")
    ours.add_argument("--fragments", type=int, help="parts of the model that travel at times of their own")
    ours.add_argument("--outer-lr", type=float)
    ours.add_argument("--outer-momentum", type=float)
    return parser.parse_args()


def _run(chosen: argparse.Namespace) -> None:
    path = _RESULTS / ("wan-quick.json" if chosen.quick else "wan.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    record = Record() if chosen.fresh else read(path)
    speed = record.machine_speed or calibrate()
    wishes = Wishes.model_validate({key: getattr(chosen, key) for key in Wishes.model_fields})
    items = select(
        (quick if chosen.quick else full)(speed, wishes),
        [chosen.stage] if chosen.stage else ["speed", "loss"],
        chosen.method or [],
        chosen.link or [],
    )
    times = _times(record, items, speed)
    _print_plan(items, times, as_commands=chosen.plan)
    if chosen.plan:
        return
    write(path, record.model_copy(update={"machine_speed": speed}))
    _measure_all(items, times, path)
    record = read(path)
    show(record.speed, record.loss, judge(record.speed, record.loss))
    draw(record.speed, record.loss, path.with_suffix(".png"))
    print(f"figures: {path}, plot: {path.with_suffix('.png')}")


def _measure_all(items: Sequence[Item], times: Sequence[float], path: Path) -> None:
    """Each in turn, merged into the record at once: what is interrupted in its second half has not been for nothing."""
    if any(item.stage == "speed" and item.method != NO_LINK for item in items):
        ensure_possible()
    scratch, run_name, machine = _scratch(), f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}", _machine()
    program = cache(lambda: build(scratch))
    failed = False
    for index, (item, expected) in enumerate(zip(items, times, strict=True)):
        left = sum(times[index:])
        _say(
            f"row {index + 1} of {len(items)}: {_where(item)} (about {expected:.0f} s; all that is left {left / 60:.0f} min)"
        )
        folder, started = scratch / f"row-{index}", time.monotonic()
        folder.mkdir()
        try:
            row = measure(item, folder, run_name, program)
        except UserError as error:  # the others are worth knowing all the same
            _say(f"FAILED: {error}")
            failed = True
            continue
        add(path, row, machine)
        _say(f"{told(row)}, {time.monotonic() - started:.0f} s in all")
    if not failed:  # else the logs are there to be read
        shutil.rmtree(scratch)


def _times(record: Record, items: Sequence[Item], speed: Calibration) -> list[float]:
    """Seconds of each row: as long as the last time, or by rule of thumb."""
    known = {
        (stage, *row.key): (row.circumstances.ended - row.circumstances.begun).total_seconds()
        for stage, rows in (("speed", record.speed), ("loss", record.loss))
        for row in rows
    }
    paces = {
        task.digest(): Pace(step_s(task, speed), parameters(task))
        for task in {item.task.digest(): item.task for item in items}.values()
    }
    return [known.get(item.key) or expected_s(item, paces[item.task.digest()]) for item in items]


def _print_plan(items: Sequence[Item], times: Sequence[float], *, as_commands: bool) -> None:
    print(f"{len(items)} rows, about {sum(times) / 60:.0f} min:")
    for item, seconds in zip(items, times, strict=True):
        print(f"  {seconds / 60:4.1f} min  {_command(item) if as_commands else _where(item)}")


def _command(item: Item) -> str:
    parts = ["python", "-m", "tests.bench.wan", "--stage", item.stage, "--method", item.name]
    if item.link is not None:
        parts += ["--link", str(item.link)]
    return shlex.join(parts)


def _where(item: Item) -> str:
    return f"{item.stage}: {item.link or 'any link'}: {item.name} ({item.method.setting})"


def _scratch() -> Path:
    """A folder of this process' own; those of processes that are gone are removed."""
    place = _RESULTS / "wan"
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        if not Path("/proc", path.name).exists():
            shutil.rmtree(path, ignore_errors=True)
    own = place / str(os.getpid())
    own.mkdir()
    return own


def _machine() -> Machine:
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return Machine(
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        congestion_control=control.read_text(encoding="ascii").strip(),
        torch=version("torch"),
        torchft=version("torchft"),
    )


def _say(line: str) -> None:
    print(f"{dt.datetime.now().astimezone():%H:%M:%S} {line}", flush=True)


if __name__ == "__main__":
    main()
