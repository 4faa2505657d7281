"""The two stages: speed over emulated links, and loss after as many samples without one."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tests.bench.wan.jobs import SITES, Job, Method, Task
from tests.bench.wan.link import ADDRESSES, DEVICE, Link, link
from tests.bench.wan.menu import NO_LINK, Contestant, Length, Trial
from tests.bench.wan.results import LossRow, SpeedRow, loss_row, speed_row
from tests.bench.wan.running import run
from tests.kit.authority import Authority
from tests.kit.ports import free_ports
from workloads.spec.base import Credentials
from workloads.spec.errors import UserError

Say = Callable[[str], None]
_LOOPBACK = ("127.0.0.1", "127.0.0.1")
_LOOKS = 8


def speed_stage(
    folder: Path, program: Path, trials: Iterable[Trial], methods: Sequence[Method], *, task: Task, say: Say
) -> Iterator[SpeedRow]:
    """Every method on every link, and without one beside each, the machine being what it is at that time."""
    authority = Authority(folder / "authority")
    credentials = (
        authority.issue(SITES[0], address=ADDRESSES[0]),
        authority.issue(SITES[1], address=ADDRESSES[1]),
    )
    for number, trial in enumerate(trials):
        place = folder / f"link-{number}"
        place.mkdir()
        with link(program, trial.link, place) as there:
            for index, method in enumerate((NO_LINK, *methods)):
                job = _speed_job(place / f"job-{index}", task, method, trial.length, there, credentials)
                load = os.getloadavg()[0]
                try:
                    outcomes = run(job, (there.inside(0), there.inside(1)) if job.counters else ((), ()))
                    row = speed_row(job, str(trial.link), outcomes, load)
                except UserError as error:  # the others are worth knowing all the same
                    say(f"{trial.link}: FAILED: {error}")
                    continue
                shutil.rmtree(job.folder)
                say(f"{row.link}: {row.method}: {row.steps_per_s:.3f} steps/s over {row.measured_steps} steps")
                yield row


def loss_stage(folder: Path, contestants: Iterable[Contestant], *, task: Task, say: Say) -> Iterator[LossRow]:
    """Every contestant for all of the schedule's steps; each round is exactly as long as planned, links being no matter."""
    for index, contestant in enumerate(contestants):
        job = Job(
            folder=folder / f"loss-{index}",
            task=Task.model_validate({**task.model_dump(), "optimizer": contestant.optimizer, "lr": contestant.lr}),
            method=contestant.method,
            steps=task.steps,
            limit_s=None,
            snapshot_every=max(1, task.steps // _LOOKS),
            hosts=_LOOPBACK,
            ports=_ports(),
            device="lo",
            counters=None,
            credentials=None,
        )
        load = os.getloadavg()[0]
        try:
            row = loss_row(contestant.label, run(job, ((), ())), load)
        except UserError as error:
            say(f"{contestant.label}: FAILED: {error}")
            continue
        shutil.rmtree(job.folder)
        say(f"{row.method}: loss {row.loss:.4f} after {row.steps} steps, {row.seconds:.0f} s")
        yield row


def _speed_job(
    folder: Path, task: Task, method: Method, length: Length, there: Link, credentials: tuple[Credentials, Credentials]
) -> Job:
    common = {
        "folder": folder,
        "task": task,
        "method": method,
        "steps": length.steps(method),
        "limit_s": length.limit_s(method),
        "snapshot_every": length.look_steps,
        "ports": _ports(),
    }
    if method == NO_LINK:
        return Job(**common, hosts=_LOOPBACK, device="lo", counters=None, credentials=None)
    return Job(**common, hosts=ADDRESSES, device=DEVICE, counters=there.counters, credentials=credentials)


def _ports() -> tuple[int, int, int, int]:
    store, lighthouse, first, second = free_ports(4)
    return store, lighthouse, first, second
