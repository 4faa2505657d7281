"""One stack and the real engine: every command of `isthmus` that touches resources is a `pulumi` command run here."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.operations import preflight, stack_files
from infra.policy.rules import settings_of_rules
from infra.providers import plugins_of
from infra.settings import PROJECT, ROOT, Settings, stack_config
from infra.toolchain.engine import Engine, ensure_engine
from infra.toolchain.locks import clear_stale_locks
from infra.toolchain.plugins import ensure_plugins
from workloads.spec.errors import UserError

BACKEND = "backend"  # folder of all stacks' states, in the state folder
BACKEND_URL = "PULUMI_BACKEND_URL"
_QUIET = {"PULUMI_SKIP_CONFIRMATIONS": "true", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class Session:
    """A stack with its settings, its engine and the variables that both need."""

    stack: str
    settings: Settings
    engine: Engine
    files: stack_files.EngineFiles
    backend: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> int:
        """Run a `pulumi` command in front of the user and give its exit status."""
        if arguments[0] != "preview":  # which takes no lock
            clear_stale_locks(self.backend, self.stack)
        with _interrupt_is_the_engines():
            return subprocess.run(self._command(*arguments), cwd=ROOT, env=self.environment, check=False).returncode

    def ask(self, *arguments: str) -> Any:
        """The JSON that a `pulumi` command prints. Raises `UserError` with what it said otherwise."""
        done = subprocess.run(
            self._command(*arguments), cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise UserError(f"pulumi {arguments[0]}: {' '.join(done.stderr.split())[:400]}")
        return json.loads(done.stdout)

    def policy(self) -> list[str]:
        """Options that make the engine run the policy pack, told what of the stack's values it must know."""
        chosen = settings_of_rules(self.settings, self.stack)
        file = self.files.folder / "policy.json"
        file.write_text(json.dumps(chosen), encoding="utf-8")
        pack = ["--policy-pack", str(ROOT / "infra" / "policy")]
        return [*pack, "--policy-pack-config", str(file)] if chosen else pack

    def exists(self) -> bool:
        """Whether the stack was ever made."""
        return self.exported() is not None if self.shared else stack_file(self.backend, self.stack).is_file()

    @property
    def shared(self) -> bool:
        """Whether its state is in a backend of a team's, and not in the state folder."""
        return self.environment[BACKEND_URL] != self.backend.as_uri()

    def exported(self) -> dict[str, Any] | None:
        """The stack's state as the backend has it, `None` where there is no such stack."""
        done = subprocess.run(
            [*(str(self.engine.path), "-C", str(self.files.folder)), "stack", "export", "--stack", self.stack],
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
        if "no stack named" in done.stderr:
            return None
        raise UserError(f"stack {self.stack} could not be read: {' '.join(done.stderr.split())[:400]}")

    def interrupted(self) -> list[str]:
        """Names of resources that a killed engine was at work on."""
        if not self.exists():
            return []
        pending = self.ask("stack", "export").get("deployment", {}).get("pending_operations") or []
        return [operation["resource"]["urn"].rpartition("::")[2] for operation in pending]

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.engine.path), *arguments, "--stack", self.stack]


def open_session(stack: str, overrides: list[str], state: Path, *, check: bool) -> Session:
    """Settings, preflight if `check`, engine, stack: in that order, so that mistakes cost nothing.

    Raises:
        UserError: a value does not fit, or something that the stack needs is not there.
    """
    config = stack_files.with_overrides(stack_config(stack_files.tracked(stack)), overrides)
    settings = stack_settings(stack, overrides)
    secret = preflight.passphrase(settings, stack, state, os.environ)
    if check:
        preflight.check(settings, ROOT)
    engine = ensure_engine(state)
    ensure_plugins(engine, plugins_of(settings))
    backend = state / BACKEND
    backend.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = stack_files.EngineFiles(state / "stacks" / stack, stack)
    session = Session(
        stack=stack,
        settings=settings,
        engine=engine,
        files=files,
        backend=backend,
        environment={**engine.env, **_QUIET, **secret, BACKEND_URL: _backend_of(settings, backend)},
    )
    _initialise(session)
    files.write_config(config)
    return session


def stack_file(backend: Path, stack: str) -> Path:
    """Where the engine keeps a stack's state."""
    return backend / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"


def stack_settings(stack: str, overrides: list[str]) -> Settings:
    """Settings of the tracked file with `overrides`, and nothing else touched. Raises `UserError`."""
    config = stack_files.with_overrides(stack_config(stack_files.tracked(stack)), overrides)
    return stack_files.settings_of(config, stack)


def _backend_of(settings: Settings, own: Path) -> str:
    """A team shares the state of clouds where its environment says; what is on this machine keeps its state here."""
    return (settings.cloud is not None and os.environ.get(BACKEND_URL)) or own.as_uri()


def _initialise(session: Session) -> None:
    session.files.write_project()
    if session.files.salt.is_file() and session.exists():
        return
    if session.shared and (known := session.exported()) is not None:
        session.files.write_salt(known)  # of a stack that somebody else has made
        return
    done = subprocess.run(
        [
            *(str(session.engine.path), "-C", str(session.files.folder)),
            *("stack", "init", session.stack, "--non-interactive", "--no-select"),
        ],
        env=session.environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise UserError(f"stack {session.stack} could not be made: {' '.join(done.stderr.split())[:400]}")


@contextmanager
def _interrupt_is_the_engines() -> Iterator[None]:
    """Ctrl-C reaches the engine as well, which cancels in good order; this process waits for it to say how it went."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
