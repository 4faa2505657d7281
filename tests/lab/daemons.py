"""Processes that outlive the command that started them, and are found again by what they wrote down."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.settings import ROOT

_POLL_S = 0.05
_BORN_LIMIT_S = 10
_TAIL_CHARACTERS = 1500

# The process itself writes who it is, before it becomes the command: whoever starts it may be killed at any moment, and
# nothing may run of which no record tells. `exec` changes neither id nor birth.
_RECORD_AND_BECOME = """
cd "$2" || exit
born() { shift 21; echo "$1"; }
printf '%s %s\\n' $$ "$(read -r line </proc/$$/stat; born $line)" >"$1.part" && mv "$1.part" "$1" || exit
shift 2
exec "$@"
"""


class LabError(Exception):
    """The lab could not be had: one line for the user, after it perhaps the end of a log."""


@dataclass(frozen=True)
class Daemon:
    """A command that stays. `folder` holds `NAME.pid` (process id and birth in clock ticks after boot) and `NAME.log`."""

    name: str
    command: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str] | None = None  # all of it; None: this process's

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it in the project's root, in a session of its own. Raises `LabError` if it runs already or ends at once."""
        if self.alive():
            raise LabError(f"{self.name} runs already, as process {self.pid}; stop it first")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record.unlink(missing_ok=True)
        write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _RECORD_AND_BECOME, "sh", str(self.record), str(ROOT), *map(str, self.command)],
            dict(self.environment) if self.environment is not None else dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), write, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,  # an interrupt at the terminal is for whoever waits
        )
        if (
            not met(lambda: self._recorded() is not None or _birth(pid) is None, _BORN_LIMIT_S)
            or not self.record.exists()
        ):
            raise LabError(f"{self.name} did not start: {self.log_tail()}")

    def stop(self, patience_s: float = 10) -> None:
        """End it and wait until it is gone, killed with its session's group after `patience_s`; nothing if it does not run.

        Raises `LabError` if even that does not end it.
        """
        if pid := self.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not met(lambda: not self.alive(), patience_s):
                _kill_group(pid)
                if not met(lambda: not self.alive(), patience_s):
                    raise LabError(f"{self.name}, process {pid}, does not end; look at it with ps, and try again")
        self.record.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it without a word to it, as a power cut would. Raises `LabError` if it does not end."""
        if pid := self.pid:
            _kill_group(pid)
        self.stop()

    def alive(self) -> bool:
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Its process, unless that has ended; the id may be another's by now."""
        if (known := self._recorded()) is None:
            return None
        pid, born = known
        return pid if _birth(pid) == born else None

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        with suppress(FileNotFoundError):
            return self.log.read_text(encoding="utf-8", errors="replace").strip()[-_TAIL_CHARACTERS:]
        return ""

    def _recorded(self) -> tuple[int, int] | None:
        try:
            pid, born = self.record.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return None
        return int(pid), int(born)


def until(what: str, ready: Callable[[], bool], limit_s: float, *daemons: Daemon, each_s: float = _POLL_S) -> None:
    """Wait for `ready`, asked `each_s`. Raises `LabError` with the log's end if one of `daemons` ends, or after `limit_s`."""

    def settled() -> bool:
        return ready() or any(not daemon.alive() for daemon in daemons)

    if met(settled, limit_s, each_s) and (ready() or not daemons):
        return
    ended = [daemon for daemon in daemons if not daemon.alive()]
    why = f"{ended[0].name} ended" if ended else f"not after {limit_s:g} s"
    said = "".join(f"\n{daemon.name}: {daemon.log_tail()}" for daemon in ended or daemons)
    raise LabError(f"{what}: {why}{said}")


def met(condition: Callable[[], bool], limit_s: float, each_s: float = _POLL_S) -> bool:
    """Whether `condition` comes true within `limit_s`; it is asked at least once, and again after `each_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(each_s)
    return True


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _birth(pid: int) -> int | None:
    """When a process began, in clock ticks after boot; None if it has ended, and then a child is let go."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        # the name, in parentheses, may hold anything
        state, *rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in {"Z", "X"} else int(rest[18])
