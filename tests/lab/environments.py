"""Locked packages in environments of their own: what the project's does not share with a cloud's stand-in."""

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.settings import ROOT
from tests.lab.daemons import LabError

UV = ROOT / ".state/uv/bin/uv"
_SAID_CHARACTERS = 600


def install(lock: Path, environment: Path) -> None:
    """The packages of a lock file, by hash, in a virtual environment; what is up to date is left alone. Raises `LabError`."""
    done = environment / "installed.txt"
    wanted = lock.read_text(encoding="utf-8")
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    environment.parent.mkdir(parents=True, exist_ok=True)
    python = environment / "bin/python"
    for command in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, str(environment)],
        ["pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock)],
    ):
        said = subprocess.run([str(UV), *command], capture_output=True, text=True, check=False)
        if said.returncode:
            raise LabError(f"uv {command[0]}: {said.stderr.strip()[-_SAID_CHARACTERS:]}")
    done.write_text(wanted, encoding="utf-8")


def require_free(host: str, ports: Mapping[str, int]) -> None:
    """Raises `LabError` with the names of those where somebody listens already."""
    taken = [f"{name} {port}" for name, port in ports.items() if answers(host, port)]
    if taken:
        raise LabError(f"ports of {', '.join(taken)} are in use on {host}; stop what listens there")


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
