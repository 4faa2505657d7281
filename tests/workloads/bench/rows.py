"""Rows as the benchmark leaves them, with figures that pass every bar unless they are changed."""

import datetime as dt
from typing import Any

from tests.bench.wan.jobs import Look
from tests.bench.wan.menu import (
    DDP,
    FAR,
    FAST,
    NO_LINK,
    SLOW,
    SYNC_ADAMW,
    SYNC_MUON,
    THIS,
    THIS_MUON,
    TORCHFT_ADAMW,
    TORCHFT_BUCKET,
)
from tests.bench.wan.record import Machine
from tests.bench.wan.results import Circumstances, LossRow, SpeedRow

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
SETTING = "H=52 int4 tau=2 F=8"
MACHINE = Machine(cores=2, kernel="6", congestion_control="bbr", torch="2", torchft="0.2")
TORCHFT = TORCHFT_BUCKET.name


def circumstances(run: str = "one", begun: dt.datetime = NOON, minutes: float = 1) -> Circumstances:
    return Circumstances(
        run=run, begun=begun, ended=begun + dt.timedelta(minutes=minutes), load_before=0.1, load_after=2.0
    )


def falling(seconds: float, loss: float, steps: int = 100) -> tuple[Look, ...]:
    """From loss 5 to `loss` in a straight line."""
    return Look(step=0, at_s=0.0, loss=5.0), Look(step=steps, at_s=seconds, loss=loss)


def speed_row(method: str = THIS, link: object = FAST, **changes: Any) -> SpeedRow:
    figures = {
        "setting": SETTING if method == THIS else "every step",
        "circumstances": circumstances(),
        "parameters": 10_000_000,
        "steps": 208,
        "measured_steps": 104,
        "steps_per_s": 2.0,
        "mb_per_step": 0.1,
        "peak_mb": 1000.0,
        "extra_mb": 400.0,
        "looks": (),
    }
    return SpeedRow(link=str(link), method=method, **{**figures, **changes})


def loss_row(method: str, loss: float, **changes: Any) -> LossRow:
    figures = {
        "link": str(FAST) if method == THIS_MUON else "-",
        "setting": SETTING if method == THIS_MUON else "every step",
        "circumstances": circumstances(),
        "steps": 1600,
        "outer": "0.7/0.6, 31 rounds",
        "looks": falling(100.0, loss, 1600),
        "seconds": 100.0,
        "peak_mb": 900.0,
    }
    return LossRow(method=method, loss=loss, **{**figures, **changes})


def good_speed() -> dict[tuple[str, str], SpeedRow]:
    rows = [
        speed_row(NO_LINK.name, FAST, mb_per_step=None, looks=falling(30, 3.0)),
        speed_row(THIS, FAST, steps_per_s=1.98, extra_mb=500.0, looks=falling(60, 2.5)),
        speed_row(DDP.name, FAST, steps_per_s=0.25, mb_per_step=42.0, looks=falling(500, 2.9)),
        speed_row(TORCHFT, FAST, steps_per_s=1.6, mb_per_step=2.0, looks=falling(110, 2.8)),
        speed_row(NO_LINK.name, SLOW, mb_per_step=None),
        speed_row(THIS, SLOW, steps_per_s=1.9),
        speed_row(TORCHFT, SLOW, steps_per_s=0.9),
        speed_row(THIS, FAR, steps_per_s=1.95),
        speed_row(TORCHFT, FAR, steps_per_s=1.2),
    ]
    return {(row.link, row.method): row for row in rows}


def good_loss() -> dict[str, LossRow]:
    losses = {SYNC_ADAMW: 1.29, SYNC_MUON: 1.20, THIS_MUON: 1.21, TORCHFT_ADAMW: 1.42}
    return {method: loss_row(method, loss) for method, loss in losses.items()}
