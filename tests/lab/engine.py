"""The whole program as the stack `lab`: the real engine, the lab's plugins, a state that goes with the lab."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.operations.session import Session
from infra.operations.stack_files import EngineFiles, settings_of, tracked, with_overrides
from infra.settings import ROOT, stack_config
from infra.toolchain.engine import HOME as HOME_VARIABLE
from infra.toolchain.engine import ensure_engine
from infra.toolchain.engine import environment as engine_environment
from infra.toolchain.locks import clear_stale_locks
from tests.lab.aws.layout import credentials
from tests.lab.daemons import LabError
from tests.lab.log import Log
from tests.lab.timing import Span, spans

NAME = "lab"
_OTHER_CLOUDS = ("OS_", "AWS_", "KUBE", "PULUMI_")
_SAID_CHARACTERS = 2500

Resource = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A command of the engine that has ended."""

    status: int
    text: str  # standard output; of one that failed both
    seconds: float
    spans: Mapping[str, Span]  # by component, of those that change something

    def steps(self) -> list[dict[str, Any]]:
        """What a preview by JSON would do, without what stays as it is."""
        return [step for step in json.loads(self.text)["steps"] if step["op"] not in {"same", "read"}]


class Stack:
    """`pulumi` with the tracked stack file and values over it, in a folder of the lab.

    Raises `LabError` where a command must succeed and does not.
    """

    def __init__(self, folder: Path, home: Path, clouds: Path, log: Log) -> None:
        self._log, self._folder = log, folder
        backend = folder / "backend"
        backend.mkdir(parents=True, exist_ok=True)
        with _variable(
            HOME_VARIABLE, str(ROOT / ".state/pulumi")
        ):  # the engine is the project's own, its plugins are not
            own = ensure_engine(folder)
        kept = {key: text for key, text in os.environ.items() if not key.startswith(_OTHER_CLOUDS)}
        engine = replace(own, home=home, env=kept | {"PULUMI_HOME": str(home)} | _of_engine(own.path, home))
        config = stack_config(tracked(NAME))
        self._session = Session(
            stack=NAME,
            settings=settings_of(config, NAME),
            engine=engine,
            files=EngineFiles(folder, NAME),
            backend=backend,
            environment={
                **engine.env,
                **credentials(),
                "OS_CLIENT_CONFIG_FILE": str(clouds),
                "PULUMI_BACKEND_URL": backend.as_uri(),
                "PULUMI_CONFIG_PASSPHRASE": NAME,
                "PULUMI_SKIP_CONFIRMATIONS": "true",
                "PULUMI_DEBUG_COMMANDS": "true",  # for --event-log
                "PYTHONWARNINGS": "ignore",
                "NO_PROXY": "127.0.0.1,localhost,10.10.0.1,10.20.0.1,10.30.0.2",
            },
        )
        self._session.files.write_project()
        if not self._session.files.salt.is_file():
            self._must(self._call(folder, ["stack", "init", NAME, "--non-interactive", "--no-select"]))
        self.configure()

    @property
    def session(self) -> Session:
        """For the commands of `isthmus` that take one."""
        return self._session

    def configure(self, *settings: str) -> None:
        """The tracked values with `PATH=VALUE` over them, from now on."""
        config = with_overrides(stack_config(tracked(NAME)), list(settings))
        self._session = replace(self._session, settings=settings_of(config, NAME))
        self._session.files.write_config(config)

    def up(self) -> Done:
        return self._must(
            self._run("up", "--yes", "--skip-preview", "--refresh=false", "--suppress-outputs", timed=True)
        )

    def preview(self) -> Done:
        return self._must(self._run("preview", "--json", "--refresh=false"))

    def refresh(self) -> Done:
        """Raises `LabError` if anything is not as the state says."""
        return self._must(self._run("refresh", "--yes", "--skip-preview", "--expect-no-changes", "--suppress-outputs"))

    def destroy(self, only: Iterable[str] = ()) -> Done:
        """All of it, or the resources with these URNs."""
        targets = [part for urn in only for part in ("--target", urn)]
        command = ("destroy", "--yes", "--skip-preview", "--refresh=false", "--suppress-outputs", *targets)
        return self._must(self._run(*command, timed=True))

    def resources(self) -> list[Resource]:
        """Of the state."""
        return list(self._exported().get("resources", []))

    def pending(self) -> list[Resource]:
        """Operations that were begun and not ended."""
        return list(self._exported().get("pending_operations") or [])

    def outputs(self) -> dict[str, Any]:
        done = self._must(self._call(ROOT, ["stack", "output", "--json", "--show-secrets", "--stack", NAME]))
        return dict(json.loads(done.text))

    def _exported(self) -> dict[str, Any]:
        done = self._must(self._call(ROOT, ["stack", "export", "--stack", NAME]))
        return dict(json.loads(done.text)["deployment"])

    def _run(self, *arguments: str, timed: bool = False) -> Done:
        clear_stale_locks(self._session.backend, NAME)
        events = self._folder / "events.json"
        events.unlink(missing_ok=True)
        told = ["--event-log", str(events)] if timed else []
        config = ["--config-file", str(self._session.files.config)]
        done = self._call(ROOT, [*arguments, "--stack", NAME, "--non-interactive", *config, *told])
        return replace(done, spans=spans(events.read_text(encoding="utf-8").splitlines())) if events.is_file() else done

    def _call(self, folder: Path, arguments: list[str]) -> Done:
        shown = arguments if len(arguments) < 30 else [*arguments[:8], f"… {len(arguments) - 8} more"]
        self._log.say("pulumi", f"$ pulumi {' '.join(shown)}")
        began = time.monotonic()
        command = [str(self._session.engine.path), "-C", str(folder), *arguments]
        done = subprocess.run(
            command,
            env=self._session.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - began
        if arguments[0] in {"up", "destroy", "refresh"} or done.returncode:
            self._log.say("pulumi", done.stdout + done.stderr)
        self._log.say("pulumi", f"ended with {done.returncode} after {seconds:.1f} s")
        return Done(done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr, seconds, {})

    def _must(self, done: Done) -> Done:
        if done.status:
            raise LabError(
                f"pulumi ended with {done.status} after {done.seconds:.0f} s: …{done.text[-_SAID_CHARACTERS:]}"
            )
        return done


def with_all_needed(resources: Iterable[Resource], kept: Iterable[str]) -> set[str]:
    """URNs of `kept` with all that they stand on: parents, dependencies, providers. Pure."""
    by_urn = {resource["urn"]: resource for resource in resources}
    found: set[str] = set()
    ahead = list(kept)
    while ahead:
        urn = ahead.pop()
        if urn in found or urn not in by_urn:
            continue
        found.add(urn)
        ahead += _stands_on(by_urn[urn])
    return found


def _stands_on(resource: Resource) -> Iterator[str]:
    yield resource.get("parent", "")
    yield from resource.get("dependencies") or ()
    for urns in (resource.get("propertyDependencies") or {}).values():
        yield from urns or ()
    yield (resource.get("provider") or "").rpartition("::")[0]  # URN::ID


def _of_engine(path: Path, home: Path) -> dict[str, str]:
    """What the engine is to be told, with another PULUMI_HOME than the one that it lies in."""
    told = engine_environment(home, path)
    return {key: told[key] for key in told if key.startswith("PULUMI_") or key == "PATH"} | {
        "PATH": os.pathsep.join([str(path.parent), told["PATH"]])
    }


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
