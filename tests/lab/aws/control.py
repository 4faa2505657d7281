"""Start and stop the emulators: their environment and their processes."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.settings import ROOT
from tests.lab.aws.layout import ACCOUNT, HOST, PORTS, REGION, Layout
from tests.lab.daemons import Daemon, LabError, until

LOCK = Path(__file__).with_name("requirements.txt")
UV = ROOT / ".state/uv/bin/uv"
_START_LIMIT_S = 60


@contextmanager
def running(layout: Layout) -> Iterator[Layout]:
    """Both emulators, new and empty. Nothing of them is left running."""
    start(layout)
    try:
        yield layout
    finally:
        stop(layout)


def start(layout: Layout) -> None:
    """Start both, empty: what ran before is stopped, and what it held is forgotten.

    Raises:
        LabError: a port is taken, a package could not be had, or an emulator does not come up.
    """
    stop(layout)
    taken = [f"{name} {port}" for name, port in PORTS.items() if _answers(port)]
    if taken:
        raise LabError(f"ports of {', '.join(taken)} are in use on {HOST}; stop what listens there")
    install(layout)
    shutil.rmtree(layout.run, ignore_errors=True)
    layout.home.mkdir(parents=True)
    started = daemons(layout)
    try:
        for daemon in started:
            daemon.start()
        for daemon in started:
            port = PORTS[daemon.name]
            until(f"{daemon.name} on {port}", lambda port=port: _answers(port), _START_LIMIT_S, daemon)
    except BaseException:
        stop(layout)
        raise


def stop(layout: Layout) -> None:
    for daemon in daemons(layout):
        daemon.stop()


def alive(layout: Layout) -> bool:
    return all(daemon.alive() for daemon in daemons(layout))


def daemons(layout: Layout) -> tuple[Daemon, ...]:
    bin_folder, own = layout.environment / "bin", environment(layout)
    return (
        Daemon("ministack", [bin_folder / "ministack"], layout.run, own),
        Daemon("moto", [bin_folder / "moto_server", "-H", HOST, "-p", str(PORTS["moto"])], layout.run, own),
    )


def install(layout: Layout) -> None:
    """The locked packages in an environment of their own; what is up to date is left alone. Raises `LabError`."""
    done = layout.root / "installed"
    wanted = LOCK.read_text(encoding="utf-8")
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    layout.root.mkdir(parents=True, exist_ok=True)
    for command in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, str(layout.environment)],
        ["pip", "sync", "--quiet", "--python", str(layout.python), "--require-hashes", str(LOCK)],
    ):
        said = subprocess.run([str(UV), *command], capture_output=True, text=True, check=False)
        if said.returncode:
            raise LabError(f"uv {command[0]}: {said.stderr.strip()[-600:]}")
    done.write_text(wanted, encoding="utf-8")


def environment(layout: Layout) -> dict[str, str]:
    """This process's, but for what is the user's: AWS's settings, proxies and folders."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("AWS_") and not key.lower().endswith("_proxy")
    }
    return kept | {
        "HOME": str(layout.home),
        "TMPDIR": str(layout.home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": REGION,
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(PORTS["ministack"]),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MOTO_ACCOUNT_ID": ACCOUNT,
    }


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
