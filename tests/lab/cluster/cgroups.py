"""The cgroups of nodes: everything that runs on a node is in one below `CGROUP`, whoever started it."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.lab.cluster.layout import CGROUP, CGROUPS
from tests.lab.daemons import LabError, met

_LIMIT_S: Final = 20


def clear(name: str = "") -> None:
    """End what is left in a node's cgroups, or in all of them, and take them away. Raises `LabError` if it stays."""
    if not met(lambda: not _emptied(name), _LIMIT_S):
        left = ", ".join(map(str, roots(name)))
        raise LabError(f"processes in {left} do not end after {_LIMIT_S} s; look at them with ps, and try again")


def roots(name: str = "") -> list[Path]:
    """Cgroups of a node that are there, one a hierarchy; without a name, those above all nodes."""
    return sorted(CGROUPS.glob(f"*/{CGROUP}/{name}" if name else f"*/{CGROUP}"))


def memory_mib() -> float:
    """What the nodes use now, kernel's and page cache's part included; 0 without nodes."""
    used = CGROUPS / "memory" / CGROUP / "memory.usage_in_bytes"
    return int(used.read_text(encoding="ascii")) / (1 << 20) if used.exists() else 0.0


def _emptied(name: str) -> list[Path]:
    """Those that are there yet after all was told to end."""
    for root in roots(name):
        for group in _bottom_up(root):
            for pid in _processes(group):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(OSError):  # busy until the last has ended
                group.rmdir()
    return roots(name)


def _bottom_up(root: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(root, topdown=False):
        yield Path(folder)


def _processes(group: Path) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(line) for line in (group / "cgroup.procs").read_text(encoding="ascii").split()]
    return []
