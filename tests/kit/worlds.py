"""Sites on loopback: data, launches, and trainer processes that can be killed at an exact moment."""

import functools
import multiprocessing
import os
import re
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal
from unittest import mock

from pydantic import JsonValue

from tests.kit.ports import free_ports
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import run_command
from workloads.spec.events import RoundEvent, StepEvent
from workloads.spec.launch import LaunchSpec, LinkFacts, ShardLaunch, ShardManifest, SiteLaunch
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer import __main__ as trainer
from workloads.trainer.hooks import EventLog
from workloads.trainer.shard import make_shard

Rank = Mapping[str, str]  # torchrun's environment for one rank
Moment = tuple[Literal["step", "round"], int]  # a step was made, or a round was committed and is not yet saved

TWO_SITES = ("aws-1", "os-1")
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
        "train.rounds_per_epoch": 2,
        "train.inner.steps": 4,
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
    workers: int = 1,
    round_deadline_s: float = PATIENT_S,
    credentials: Mapping[str, Credentials] | None = None,
) -> Path:
    """Data and a launch of `recipe` over `sites` that reach each other directly. Returns the launch's file."""
    shards = make_shards(recipe, folder, sites)
    ports = free_ports(2 * len(sites))
    listen = {site: Endpoint(port=port) for site, port in zip(sites, ports[: len(sites)], strict=True)}
    rendezvous = {site: Endpoint(port=port) for site, port in zip(sites, ports[len(sites) :], strict=True)}
    launch = LaunchSpec(
        run_id="test-run",
        recipe=recipe,
        link=LinkFacts(rate_mbps=1000, rtt_ms=0),
        round_deadline_s=round_deadline_s,
        output=folder / "output",
        sites=tuple(
            SiteLaunch(
                name=site,
                workers=workers,
                rendezvous=rendezvous[site],
                listen=listen[site],
                peers={peer: endpoint for peer, endpoint in listen.items() if peer != site},
                credentials=credentials[site] if credentials else None,
                data=shards[site],
                data_digest=ShardManifest.load(shards[site] / "manifest.json").data_digest,
                work=folder / site / "work",
            )
            for site in sites
        ),
    )
    path = folder / "launch.json"
    launch.save(path)
    return path


class SiteProcess:
    """A rank of a site as a process of its own, forked from one that has torch loaded, whose output is kept.

    It runs what torchrun would: the trainer's command line, in torchrun's environment. With `kill_at` it ends itself
    with SIGKILL at that moment.
    """

    def __init__(self, launch: Path, site: str, *, rank: Rank | None = None, kill_at: Moment | None = None) -> None:
        name = f"{site}-{uuid.uuid4().hex}"
        self._said, self._erred = launch.parent / f"{name}.out", launch.parent / f"{name}.err"
        self._process = _context().Process(
            target=_run_trainer,
            args=([str(launch), "--site", site], rank or {}, self._said, self._erred, kill_at),
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

    @property
    def _output(self) -> str:
        return self._said.read_text(encoding="utf-8") if self._said.exists() else ""

    @property
    def _errors(self) -> str:
        return self._erred.read_text(encoding="utf-8") if self._erred.exists() else ""


def run_sites(launch: Path, sites: Sequence[str] = TWO_SITES) -> dict[str, str]:
    """Run `sites` with one rank each to their end, which must be a good one. Returns what each said."""
    return _finish_well({site: SiteProcess(launch, site) for site in sites})


def run_ranks(launch: Path, site: str, count: int) -> dict[str, str]:
    """Run one site with `count` ranks to its end, which must be a good one. Returns what each rank said."""
    (port,) = free_ports(1)
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return _finish_well(
        {
            str(rank): SiteProcess(launch, site, rank={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(count)
        }
    )


def _finish_well(processes: Mapping[str, SiteProcess]) -> dict[str, str]:
    said = {}
    for name, process in processes.items():
        status, output, errors = process.finish()
        if status != 0:
            raise AssertionError(f"{name} ended with {status}:\n{output}\n{errors}")
        said[name] = output
    return said


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Loading torch takes seconds, and building the first optimizer as many again: once for all processes.
    context.set_forkserver_preload(["torch._dynamo", "workloads.trainer.train"])
    return context


def _run_trainer(arguments: list[str], rank: Rank, said: Path, erred: Path, kill_at: Moment | None) -> None:
    for path, descriptor in ((said, 1), (erred, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.environ.update(rank)
    sys.argv[1:] = arguments
    if kill_at is not None:
        _arm(*kill_at)
    run_command(trainer.main)


def _arm(kind: str, number: int) -> None:
    method = {"step": "step", "round": "round_committed"}[kind]
    tell = getattr(EventLog, method)

    def tell_and_die(log: EventLog, event: StepEvent | RoundEvent) -> None:
        tell(log, event)
        if getattr(event, kind) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    mock.patch.object(EventLog, method, tell_and_die).start()
