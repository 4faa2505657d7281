"""Sites on loopback: data, launches, and trainer processes that can be killed at an exact moment."""

import functools
import itertools
import multiprocessing
import os
import re
import signal
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal
from unittest import mock

from pydantic import JsonValue
from torch import Tensor

from tests.kit.ports import free_port, free_ports
from workloads.planning.outer import plan_rounds
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import run_command
from workloads.spec.launch import LaunchSpec, LinkFacts, ShardLaunch, ShardManifest, SiteLaunch
from workloads.spec.plan import Layout, Plan, SitePlan
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer import __main__ as trainer
from workloads.trainer.checkpoints import CheckpointStore
from workloads.trainer.hooks import EventLog
from workloads.trainer.parallelise import Batch, ParallelModel
from workloads.trainer.rounds import SiteRounds
from workloads.trainer.shard import make_shard

Rank = Mapping[str, str]  # torchrun's environment for one rank
# A step was made; a round was committed and is not yet saved; a round's checkpoint is half written, is whole and not
# yet visible, or is visible.
Moment = tuple[Literal["step", "round", "writing", "written", "saved"], int]

TWO_SITES = ("aws-1", "os-1")
PEAK_FLOPS = 1e9  # of a worker, as the launch says
PATIENT_S = 300.0  # a round deadline that no test reaches
LIMIT_S = 240.0  # for a process that hangs
_POLL_S = 0.02

_SMALL: dict[str, dict[str, JsonValue]] = {
    "iris": {"train.epochs": 2, "train.rounds_per_epoch": 3, "train.inner.steps": 4},
    "language": {
        "model.config.hidden_size": 32,
        "model.config.intermediate_size": 64,
        "model.config.num_hidden_layers": 1,
        "model.config.num_attention_heads": 2,
        "model.config.num_key_value_heads": 2,
        "data.context": 32,
        "data.max_bytes_per_site": 400_000,
        "train.steps_per_epoch": 8,
        "train.inner.steps": 4,
        "train.inner.warmup_steps": 0,
    },
}


def small_recipe(name: str, overrides: Mapping[str, JsonValue] | None = None) -> Recipe:
    """The bundled recipe `name`, cut down to what a test can wait for."""
    return load_recipe(name, {**_SMALL[name], **(overrides or {})})


def make_shards(recipe: Recipe, folder: Path, sites: Sequence[str]) -> dict[str, Path]:
    """Shards of all `sites` below `folder`, by site."""
    shards = {site: folder / site / "data" for site in sites}
    for site, shard in shards.items():
        make_shard(ShardLaunch(recipe=recipe, site=site, sites=tuple(sites), folder=shard))
    return shards


def make_launch(
    recipe: Recipe,
    folder: Path,
    sites: Sequence[str] = TWO_SITES,
    *,
    layouts: Mapping[str, Layout] | None = None,
    round_deadline_s: float = PATIENT_S,
    credentials: Mapping[str, Credentials] | None = None,
) -> Path:
    """Data and a launch of `recipe` over `sites` that reach each other directly. Returns the launch's file."""
    shards = make_shards(recipe, folder, sites)
    plan = make_plan(recipe, sites, layouts or {})
    listen = {site: tuple(Endpoint(port=port) for port in free_ports(plan.shards)) for site in sites}
    launch = LaunchSpec(
        run_id="test-run",
        recipe=recipe,
        plan=plan,
        link=LinkFacts(rate_mbps=1000, rtt_ms=0),
        round_deadline_s=round_deadline_s,
        output=folder / "output",
        sites=tuple(
            SiteLaunch(
                name=site,
                workers=plan.sites[site].layout.ranks,
                rendezvous=Endpoint(port=free_port()),
                listen=listen[site],
                peers={peer: endpoints for peer, endpoints in listen.items() if peer != site},
                credentials=credentials[site] if credentials else None,
                data=shards[site],
                data_digest=ShardManifest.load(shards[site] / "manifest.json").data_digest,
                work=folder / site / "work",
                peak_flops=PEAK_FLOPS,
            )
            for site in sites
        ),
    )
    path = folder / "launch.json"
    launch.save(path)
    return path


def make_plan(recipe: Recipe, sites: Sequence[str] = TWO_SITES, layouts: Mapping[str, Layout] | None = None) -> Plan:
    """The plan of a `recipe` that leaves nothing open but its outer settings: 8 bits, no overlap, one fragment.

    A site without a layout in `layouts` has one worker.
    """
    inner, outer = recipe.train.inner, recipe.train.outer
    layout = {site: (layouts or {}).get(site, Layout()) for site in sites}
    if inner.steps == "auto":
        raise ValueError("a recipe for make_plan says how many steps a round has")
    return Plan(
        rounds=plan_rounds(recipe, inner.steps),
        overlap_steps=0 if outer.overlap_steps == "auto" else outer.overlap_steps,
        bits=8 if outer.bits == "auto" else outer.bits,
        fragments=1 if outer.fragments == "auto" else outer.fragments,
        sites={
            site: SitePlan(layout=layout[site], batch=inner.batch, micro_batch=inner.batch // layout[site].data_ranks)
            for site in sites
        },
    )


class SiteProcess:
    """A rank of a site as a process of its own, forked from one that has torch loaded, whose output is kept.

    It runs what torchrun would: the trainer's command line, in torchrun's environment. With `kill_at` it ends itself
    with SIGKILL at that moment; with `spoil_at` its parameters are no numbers when it makes that step; with `full_at`
    there is no room on disk for that round's checkpoint; with `late_at`, a turn and a number, that turn's frames are not
    there until the site has made so many steps alone.
    """

    def __init__(
        self,
        launch: Path,
        site: str,
        *,
        rank: Rank | None = None,
        kill_at: Moment | None = None,
        spoil_at: int | None = None,
        full_at: int | None = None,
        late_at: tuple[int, int] | None = None,
    ) -> None:
        name = f"{site}-{uuid.uuid4().hex}"
        self._said, self._erred = launch.parent / f"{name}.out", launch.parent / f"{name}.err"
        self._process = _context().Process(
            target=_run_trainer,
            args=(
                [str(launch), "--site", site],
                rank or {},
                self._said,
                self._erred,
                functools.partial(_arm, kill_at, spoil_at, full_at, late_at),
            ),
        )
        self._process.start()

    def finish(self) -> tuple[int | None, str, str]:
        """Exit code (negative: the signal that ended it), standard output and standard error."""
        self._process.join(LIMIT_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"no end within {LIMIT_S} s; said:\n{self._output}\n{self._errors}")
        return self._process.exitcode, self._output, self._errors

    def await_line(self, pattern: str) -> None:
        """Return once the process has said a line that matches `pattern`, which it must before its end."""
        while not any(re.fullmatch(pattern, line) for line in self._output.splitlines()):
            self._process.join(_POLL_S)
            if self._process.exitcode is not None:
                raise AssertionError(f"ended without {pattern!r}; said:\n{self._output}\n{self._errors}")

    def stop(self) -> None:
        """Ask it to end, with SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()

    @property
    def _output(self) -> str:
        return self._said.read_text(encoding="utf-8") if self._said.exists() else ""

    @property
    def _errors(self) -> str:
        return self._erred.read_text(encoding="utf-8") if self._erred.exists() else ""


def run_sites(launch: Path, sites: Sequence[str] = TWO_SITES) -> dict[str, str]:
    """Run all ranks of `sites` to their end, which must be a good one. Returns what the first rank of each said."""
    said: dict[str, str] = {}
    started = {key: process for name in sites for key, process in start_site(launch, name).items()}
    for (site, rank), process in started.items():
        status, output, errors = process.finish()
        if status != 0:
            raise AssertionError(f"rank {rank} of {site} ended with {status}:\n{output}\n{errors}")
        said.setdefault(site, output)
    return said


def kill_sites(launch: Path, sites: Sequence[str], moment: Moment) -> None:
    """Run all ranks of `sites`, the first of which end themselves with SIGKILL at that moment, and the others with them."""
    started = [start_site(launch, site, kill_at=moment) for site in sites]
    for processes in started:
        first, *others = processes.values()
        status, output, errors = first.finish()
        if status != -signal.SIGKILL:
            raise AssertionError(f"ended with {status} before {moment}:\n{output}\n{errors}")
        for other in others:
            other.kill()


def start_site(launch: Path, site: str, *, kill_at: Moment | None = None) -> dict[tuple[str, int], SiteProcess]:
    """All ranks of `site`, as torchrun would start them."""
    size = LaunchSpec.load(launch).site(site).workers
    if size == 1:
        return {(site, 0): SiteProcess(launch, site, kill_at=kill_at)}
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return {
        (site, rank): SiteProcess(
            launch, site, rank={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, kill_at=kill_at
        )
        for rank in range(size)
    }


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Loading torch takes seconds, and building the first optimizer as many again: once for all processes.
    context.set_forkserver_preload(["torch._dynamo", "workloads.trainer.train"])
    return context


def _run_trainer(arguments: list[str], rank: Rank, said: Path, erred: Path, arm: Callable[[], None]) -> None:
    for path, descriptor in ((said, 1), (erred, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.environ.update(rank)
    sys.argv[1:] = arguments
    arm()
    run_command(trainer.main)


def _arm(kill_at: Moment | None, spoil_at: int | None, full_at: int | None, late_at: tuple[int, int] | None) -> None:
    if kill_at is not None:
        _arm_kill(*kill_at)
    if spoil_at is not None:
        _arm_spoil(spoil_at)
    if full_at is not None:
        _arm_full(full_at)
    if late_at is not None:
        _arm_late(*late_at)


def _arm_late(turn: int, steps: int) -> None:
    original = SiteRounds.arrived
    looks = itertools.count(1)

    def arrived(rounds: SiteRounds, timeout_s: float) -> bool:
        is_late = rounds.committed + 1 == turn and (timeout_s > 0 or next(looks) <= steps)
        return not is_late and original(rounds, timeout_s)

    mock.patch.object(SiteRounds, "arrived", arrived).start()


def _arm_spoil(number: int) -> None:
    original = ParallelModel.train_step
    steps = itertools.count(1)

    def train_step(parallel: ParallelModel, batch: Batch) -> Tensor:
        if next(steps) == number:
            for parameter in parallel.parameters.values():
                parameter.detach().fill_(float("nan"))
        return original(parallel, batch)

    mock.patch.object(ParallelModel, "train_step", train_step).start()


def _arm_full(number: int) -> None:
    original = CheckpointStore.put

    def put(store: CheckpointStore, round_number: int, files: list[str]) -> dict[str, str]:
        if round_number == number:
            with Path("/dev/full").open("wb", buffering=0) as full:
                full.write(b"x")  # the kernel's own refusal
        return original(store, round_number, files)

    mock.patch.object(CheckpointStore, "put", put).start()


def _arm_kill(kind: str, number: int) -> None:
    moments: dict[str, tuple[type, str, Callable[..., int], bool]] = {
        "step": (EventLog, "step", lambda log, event: event.step, True),
        "round": (EventLog, "round_committed", lambda log, event: event.round, True),
        "writing": (CheckpointStore, "put", lambda store, round_number, files: round_number, False),
        "written": (CheckpointStore, "seal", lambda store, progress, layout, files: progress.round, False),
        "saved": (CheckpointStore, "seal", lambda store, progress, layout, files: progress.round, True),
    }
    owner, method, number_of, is_after = moments[kind]
    original = getattr(owner, method)

    def act_and_die(*arguments: object) -> object:
        result = original(*arguments) if is_after else None
        if number_of(*arguments) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result if is_after else original(*arguments)

    mock.patch.object(owner, method, act_and_die).start()
