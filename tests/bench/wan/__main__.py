"""`python -m tests.bench.wan`: run the stages, print tables, and write `wan.json` and a plot into `.state/bench`."""

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.wan.judging import judge
from tests.bench.wan.link import build, ensure_possible
from tests.bench.wan.menu import FULL, QUICK, Menu
from tests.bench.wan.results import LossRow, SpeedRow, compare
from tests.bench.wan.running import ROOT
from tests.bench.wan.showing import draw, show
from tests.bench.wan.stages import loss_stage, speed_stage
from workloads.spec.errors import UserError

_RESULTS = ROOT / ".state" / "bench"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.bench.wan", description=__doc__)
    parser.add_argument("--stage", choices=("speed", "loss"), help="one stage alone; figures of the other are kept")
    parser.add_argument("--quick", action="store_true", help="a small model and few steps, to see that all parts work")
    parser.add_argument("--method", action="append", help="only methods whose name contains this; may be repeated")
    parser.add_argument("--link", action="append", help="only links whose name contains this; may be repeated")
    chosen = parser.parse_args()
    # whatever it was started by: an end is always in order
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(chosen)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; all that was started has been ended")


def _run(chosen: argparse.Namespace) -> None:
    menu = (QUICK if chosen.quick else FULL).filtered(chosen.method or [""], chosen.link or [""])
    stages = [chosen.stage] if chosen.stage else ["speed", "loss"]
    if "speed" in stages:
        ensure_possible()
    path = _RESULTS / ("wan-quick.json" if chosen.quick else "wan.json")
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    scratch = _RESULTS / "wan"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for stage in stages:
        rows: list[dict[str, Any]] = []
        known[stage] = {"machine": _machine(), "rows": rows}
        for row in _rows(stage, menu, scratch):
            rows.append(row.model_dump(mode="json"))
            _save(path, known)  # after every row: what is interrupted in its second half has not been for nothing
    speed, loss = _save(path, known)
    show(speed, loss, judge(speed, loss))
    draw(speed, loss, path.with_suffix(".png"))
    print(f"figures: {path}, plot: {path.with_suffix('.png')}")


def _rows(stage: str, menu: Menu, folder: Path) -> Iterator[SpeedRow] | Iterator[LossRow]:
    if stage == "loss":
        return loss_stage(folder, menu.contestants, task=menu.loss, say=_say)
    return speed_stage(folder, build(folder), menu.trials, menu.methods, task=menu.speed, say=_say)


def _save(path: Path, known: dict[str, Any]) -> tuple[list[SpeedRow], list[LossRow]]:
    """Write all figures, with the bars that follow from them. Returns the rows of both stages."""
    speed = [SpeedRow.model_validate(row) for row in known.get("speed", {}).get("rows", ())]
    loss = [LossRow.model_validate(row) for row in known.get("loss", {}).get("rows", ())]
    known["beside"] = [comparison.model_dump() for comparison in compare(speed)]
    known["bars"] = {name: bar.model_dump() for name, bar in judge(speed, loss).items()}
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return speed, loss


def _machine() -> dict[str, Any]:
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "kernel": platform.release(),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip(),
        "torch": version("torch"),
        "torchft": version("torchft"),
    }


def _say(line: str) -> None:
    print(f"{dt.datetime.now().astimezone():%H:%M:%S} {line}", flush=True)


if __name__ == "__main__":
    main()
