"""Sites on loopback: data, launches, and trainer processes that can be killed at an exact step.

Run as a program it is the trainer with a fault switch: `python -m tests.kit.worlds SPEC --site NAME --kill-at-step N`.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from workloads.spec.base import Credentials, Endpoint
from workloads.spec.events import StepEvent
from workloads.spec.launch import LaunchSpec, LinkFacts, ShardLaunch, ShardManifest, SiteLaunch
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer.shard import make_shard

ROOT = Path(__file__).parents[2]
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


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


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
    """A trainer process, or torchrun with several, whose output is kept."""

    def __init__(self, launch: Path, site: str, *, workers: int = 1, kill_at_step: int | None = None) -> None:
        arguments = [str(launch), "--site", site]
        if kill_at_step is not None:
            command = ["-m", "tests.kit.worlds", *arguments, "--kill-at-step", str(kill_at_step)]
        elif workers > 1:
            ranks = ["--standalone", "--nproc-per-node", str(workers), "-m"]
            command = ["-m", "torch.distributed.run", *ranks, "workloads.trainer", *arguments]
        else:
            command = ["-m", "workloads.trainer", *arguments]
        self._said = launch.parent / f"{site}.{os.urandom(4).hex()}.out"
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
            )

    def finish(self) -> tuple[int, str, str]:
        """Exit code (negative: the signal that ended it), standard output and standard error."""
        try:
            _, errors = self._process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, errors = self._process.communicate()
            raise TimeoutError(f"no end within {LIMIT_S} s; said:\n{self._output}\n{errors}") from None
        return self._process.returncode, self._output, errors

    def await_line(self, line: str) -> None:
        """Return once the process has said `line`, which it must before its end."""
        while line not in self._output.splitlines():
            try:
                self._process.wait(timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"ended without {line!r}; said:\n{self._output}")

    def stop(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    @property
    def _output(self) -> str:
        return self._said.read_text(encoding="utf-8")


def run_sites(launch: Path, sites: Sequence[str] = TWO_SITES, *, workers: int = 1) -> dict[str, str]:
    """Run all sites to their end, which must be a good one. Returns what each said."""
    processes = {site: SiteProcess(launch, site, workers=workers) for site in sites}
    said = {}
    for site, process in processes.items():
        status, output, errors = process.finish()
        if status != 0:
            raise AssertionError(f"{site} ended with {status}:\n{output}\n{errors}")
        said[site] = output
    return said


def _main_with_fault() -> None:
    from workloads.trainer import __main__ as trainer  # noqa: PLC0415
    from workloads.trainer.hooks import EventLog  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    parser.add_argument("--kill-at-step", type=int, required=True)
    arguments, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    log_step = EventLog.step

    def step(log: EventLog, event: StepEvent) -> None:
        log_step(log, event)
        if event.step == arguments.kill_at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    EventLog.step = step  # type: ignore[method-assign]
    trainer.main()


if __name__ == "__main__":
    _main_with_fault()
