"""The two stages: speed over emulated links, and loss after as many samples without one."""

import datetime as dt
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.wan.jobs import SITES, Job, Outcome
from tests.bench.wan.link import ADDRESSES, DEVICE, Link, link
from tests.bench.wan.menu import NO_LINK, Item
from tests.bench.wan.product import plan_of
from tests.bench.wan.results import Circumstances, LossRow, SpeedRow, loss_row, speed_row
from tests.bench.wan.running import run
from tests.kit.authority import Authority
from tests.kit.ports import free_ports

_LOOPBACK = ("127.0.0.1", "127.0.0.1")
_LOOKS = 8


def measure(item: Item, folder: Path, run_name: str, program: Callable[[], Path]) -> SpeedRow | LossRow:
    """The row of `item`. `program` gives the link's emulator, if there is to be a link; `folder` is left empty.

    Raises:
        UserError: a site ended early, or the row was too short for a rate.
    """
    if item.stage == "loss" or item.method == NO_LINK:
        row = _watched(item, _job(item, folder / "job", None), ((), ()), run_name)
    elif item.link is None:
        raise TypeError(f"{item.name} of the stage {item.stage} has no link")
    else:
        with link(program(), item.link, folder) as there:
            prefixes = (there.inside(0), there.inside(1))
            row = _watched(item, _job(item, folder / "job", there), prefixes, run_name)
    shutil.rmtree(folder)
    return row


def _watched(item: Item, job: Job, prefixes: tuple[list[str] | tuple[()], ...], run_name: str) -> SpeedRow | LossRow:
    begun, load = dt.datetime.now(dt.UTC), os.getloadavg()[0]
    outcomes = run(job, prefixes)
    circumstances = Circumstances(
        run=run_name,
        begun=begun.replace(microsecond=0),
        ended=dt.datetime.now(dt.UTC).replace(microsecond=0),
        load_before=load,
        load_after=os.getloadavg()[0],
    )
    return _row(item, job, outcomes, circumstances)


def _row(item: Item, job: Job, outcomes: tuple[Outcome, Outcome], circumstances: Circumstances) -> SpeedRow | LossRow:
    if item.stage == "speed":
        return speed_row(job, str(item.link), outcomes, circumstances)
    return loss_row(job, str(item.link or "-"), item.name, _outer(job), outcomes, circumstances)


def _outer(job: Job) -> str:
    """Outer settings of the first and the last round."""
    if job.method.kind != "isthmus":
        return "-"
    rounds = plan_of(job).rounds
    words = [f"{part.lr:g}/{part.momentum:g}" for part in (rounds[0], rounds[-1])]
    return " to ".join(dict.fromkeys(words)) + f", {len(rounds)} rounds"


def _job(item: Item, folder: Path, there: Link | None) -> Job:
    """Without a link, each round is exactly as long as planned all the same."""
    looks = item.length.look_steps if item.length else max(1, item.task.steps // _LOOKS)
    credentials = None
    if there is not None:
        authority = Authority(folder.parent / "authority")
        credentials = (
            authority.issue(SITES[0], address=ADDRESSES[0]),
            authority.issue(SITES[1], address=ADDRESSES[1]),
        )
    store, lighthouse, first, second = free_ports(4)
    return Job(
        folder=folder,
        task=item.task,
        method=item.method,
        steps=item.steps,
        limit_s=item.limit_s,
        snapshot_every=looks,
        hosts=ADDRESSES if there else _LOOPBACK,
        ports=(store, lighthouse, first, second),
        device=DEVICE if there else "lo",
        counters=there.counters if there else None,
        credentials=credentials,
    )
