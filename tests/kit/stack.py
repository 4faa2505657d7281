"""A local stack of its own for a test: the real command, the real engine, its own folder and ports."""

import json
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from infra.local.ports import BLOCK, PortPlan, in_use
from infra.settings import ROOT

# One engine for all stacks of the tests: the project's own, or one on PATH.
ENGINE = {"ISTHMUS_PULUMI_HOME": os.environ.get("ISTHMUS_PULUMI_HOME", str(ROOT / ".state/pulumi"))}
_COUNTS = re.compile(r"^\s+(?:[+~±-]{1,2} )?(\d+) (created|updated|replaced|deleted|unchanged)$", re.MULTILINE)


def free_base_port(sites: int = 2) -> int:
    """A base whose whole plan is free now."""
    for base in random.sample(range(20000, 32000, BLOCK), 30):
        if not any(in_use(endpoint) for endpoint in PortPlan(base, sites).named().values()):
            return base
    raise AssertionError("no block of free ports on this machine")


@dataclass
class Finished:
    """A command that has ended."""

    status: int
    text: str

    @property
    def counts(self) -> dict[str, int]:
        """The engine's own account: created, updated, replaced, deleted, unchanged."""
        resources = self.text.rpartition("Resources:")[2]
        return {what: int(number) for number, what in _COUNTS.findall(resources)}

    @property
    def errors(self) -> list[str]:
        return [line.strip() for line in self.text.splitlines() if "error:" in line]


@dataclass
class LocalStack:
    """`isthmus` with `--state` and overrides that keep it apart from every other stack on the machine."""

    folder: Path
    base_port: int = field(default_factory=free_base_port)
    settings: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def local(self) -> Path:
        return self.folder / "local"

    def start(self, *arguments: str, with_settings: bool = True, environment: dict[str, str] | None = None) -> Any:
        own = [f"local.folder={self.local}", f"local.base_port={self.base_port}", *self.settings]
        chosen = [part for setting in own for part in ("--set", setting)] if with_settings else []
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "infra.operations",
                arguments[0],
                "--state",
                str(self.state),
                *chosen,
                *arguments[1:],
            ],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200", **ENGINE, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, with_settings: bool = True, environment: dict[str, str] | None = None) -> Finished:
        process = self.start(*arguments, with_settings=with_settings, environment=environment)
        with process:
            text, _ = process.communicate(timeout=900)
        return Finished(process.returncode, text)

    def up(self, *arguments: str, **options: Any) -> Finished:
        return self.run("up", *arguments, **options)

    def outputs(self) -> dict[str, Any]:
        """The exports, from the state of the file backend."""
        document = json.loads((self.state / "backend/.pulumi/stacks/isthmus/local.json").read_text())
        (stack,) = [r for r in document["checkpoint"]["latest"]["resources"] if r["type"] == "pulumi:pulumi:Stack"]
        return dict(stack["outputs"])

    def processes(self) -> list[psutil.Process]:
        """Everything alive that works in this stack's folder or was told of it."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._mine(process)]

    def listeners(self) -> list[str]:
        return [name for name, endpoint in PortPlan(self.base_port, 2).named().items() if in_use(endpoint)]

    def _mine(self, process: psutil.Process) -> bool:
        try:
            return any(str(self.folder) in part for part in [*process.cmdline(), process.cwd()])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


def eventually(what: Any, limit_s: float = 60.0) -> Any:
    """The first true answer of `what`, asked until `limit_s` has passed."""
    deadline = time.monotonic() + limit_s
    while not (answer := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer, f"did not come about within {limit_s} s"
    return answer
