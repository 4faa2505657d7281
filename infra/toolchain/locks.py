"""Locks of Pulumi's file backend that were left behind by an engine that was killed.

The engine itself only offers `pulumi cancel`, which also takes the lock from an engine that is at work.
"""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from workloads.spec.errors import UserError

# The engine writes the lock some moments after its process began; a process that began later has inherited the pid.
_CLOCK_SLACK_S = 5.0


@dataclass(frozen=True)
class LockHolder:
    """Who took a lock, as the lock's file says."""

    stack: str
    pid: int
    host: str
    since: datetime

    def lives(self) -> bool:
        """Whether the engine that took the lock still runs. One on another host is taken to."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            began, state = process.create_time(), process.status()
        except psutil.NoSuchProcess:
            return False
        return state != psutil.STATUS_ZOMBIE and began <= self.since.timestamp() + _CLOCK_SLACK_S


def clear_stale_locks(backend: Path, stack: str | None = None) -> tuple[LockHolder, ...]:
    """Remove the locks of dead engines under a file backend's folder, of one stack or of all; returns their holders.

    Raises:
        UserError: an engine that lives, or that is on another host, holds a lock.
    """
    cleared = []
    for path in sorted((backend / ".pulumi" / "locks").glob(f"*/*/{stack or '*'}/*.json")):
        holder = _read(path)
        if holder is not None and holder.lives():
            raise UserError(
                f"stack {holder.stack} is locked by pulumi process {holder.pid} on {holder.host} "
                f"since {holder.since:%Y-%m-%d %H:%M:%S %Z}; wait for it, or stop it, and try again"
            )
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.attrs").unlink(missing_ok=True)
        if holder is not None:
            cleared.append(holder)
    return tuple(cleared)


def _read(path: Path) -> LockHolder | None:
    """The holder; nothing for a file that a kill has cut short, or that its holder has just removed."""
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(lock["timestamp"])
        return LockHolder(path.parent.name, int(lock["pid"]), str(lock["hostname"]), since)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
