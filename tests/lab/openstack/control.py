"""Start and stop the control plane: its environment, its databases, its processes."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from infra.settings import ROOT
from tests.lab.openstack.config import files
from tests.lab.openstack.layout import HOST, PORTS, Layout

LOCK = Path(__file__).with_name("requirements.txt")
UV = ROOT / ".state/uv/bin/uv"
_START_LIMIT_S, _STOP_LIMIT_S = 180, 10
_INSIDE = "tests.lab.openstack.inside"
_SWIFT = ("swift-account", "swift-container", "swift-object", "swift-proxy")
_FOLDERS = (
    "databases",
    "etc/swift",
    "glance/images",
    "glance/staging",
    "glance/tasks",
    "home",
    "keys/fernet",
    "keys/credential",
    "locks",
    "log",
    "nova",
    "swift/disk",
)

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Of this process: a parent has to ask how its children ended. Another command's are found by what it recorded."""


class LabError(Exception):
    """The control plane could not be had, with the end of the log that says why."""


@contextmanager
def running(layout: Layout) -> Iterator[Layout]:
    """The control plane, new and empty but for what `inside.seed` makes. Nothing of it is left running."""
    start(layout)
    try:
        yield layout
    finally:
        stop(layout)


def start(layout: Layout) -> None:
    """Raises `LabError`; what was started by then is stopped."""
    stop(layout)
    taken = [f"{name} {port}" for name, port in PORTS.items() if _answers(port)]
    if taken:
        raise LabError(f"ports of {', '.join(taken)} are in use on {HOST}; stop what listens there")
    install(layout)
    _lay_out(layout)
    try:
        _start(layout)
    except BaseException:
        stop(layout)
        raise


def stop(layout: Layout) -> None:
    """End the processes that were started, each by its id and the moment of its birth, and wait until they are gone."""
    found = [process for pid, born in _recorded(layout).values() if (process := _alive(pid, born))]
    for process in found:
        process.terminate()
    _, stubborn = psutil.wait_procs(found, _STOP_LIMIT_S)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, _STOP_LIMIT_S)
    for process in found:
        if child := _children.pop(process.pid, None):
            child.wait(_STOP_LIMIT_S)
    layout.processes.unlink(missing_ok=True)


def install(layout: Layout) -> None:
    """The locked packages in an environment of their own; what is up to date is left alone."""
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


def ask(layout: Layout, module: str, *arguments: str) -> str:
    """What a module of `inside` prints."""
    command = [str(layout.python), "-m", f"{_INSIDE}.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(layout), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{module} {' '.join(arguments)}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def environment(layout: Layout) -> dict[str, str]:
    """This process's, but for what would lead a service to another cloud, a proxy or the user's own files."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("OS_") and not key.lower().endswith("_proxy")
    }
    return kept | {
        "HOME": str(layout.home),
        "OS_CLIENT_CONFIG_FILE": str(layout.clouds),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(layout.run / "plug")]),
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
        "no_proxy": HOST,
    }


def _lay_out(layout: Layout) -> None:
    shutil.rmtree(layout.run, ignore_errors=True)
    for name in _FOLDERS:
        (layout.run / name).mkdir(parents=True)
    for name, text in files(layout, secrets.token_bytes(32)).items():
        path = layout.run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _start(layout: Layout) -> None:
    root = str(layout.root)
    with ThreadPoolExecutor(2) as pool:
        # two at a time: each is one process that computes
        list(pool.map(lambda name: ask(layout, "databases", root, name), _MAKES))
    for name in ("keystone", "placement"):
        _spawn(layout, name)
    _await_port(layout, "keystone")
    for name in ("neutron", "nova"):
        _spawn(layout, name)
    ask(layout, "seed", root, "catalogue")
    for name in ("glance", "barbican", *_SWIFT):
        _spawn(layout, name)
    for name in PORTS:
        _await_port(layout, name)
    _await(layout, "nova", layout.compute_ready.exists, "its compute has not started")
    ask(layout, "seed", root, "project")


_MAKES = ("nova", "keystone", "neutron", "barbican", "glance", "swift")


def _spawn(layout: Layout, name: str) -> None:
    if name in _SWIFT:
        kind = name.removeprefix("swift-")
        command = [str(layout.environment / "bin" / f"{name}-server"), str(layout.etc / "swift" / f"{kind}.conf"), "-v"]
    else:
        command = [str(layout.python), "-m", f"{_INSIDE}.serve", str(layout.root), name]
    with (layout.logs / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(layout),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt at the terminal is for whoever waits, who stops it in order
        )
    _children[child.pid] = child
    known = _recorded(layout) | {name: (child.pid, psutil.Process(child.pid).create_time())}
    layout.processes.write_text(json.dumps(known), encoding="utf-8")


def _await_port(layout: Layout, name: str) -> None:
    _await(layout, name, lambda: _answers(PORTS[name]), f"nothing listens on {PORTS[name]}")


def _await(layout: Layout, name: str, ready: Callable[[], bool], lack: str) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not ready():
        pid, born = _recorded(layout)[name]
        lost = _alive(pid, born) is None
        if lost or time.monotonic() > deadline:
            why = "ended" if lost else f"{lack} after {_START_LIMIT_S} s"
            said = (layout.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            raise LabError(f"{name}: {why}: {said.strip()[-1500:]}")
        time.sleep(0.1)


def _recorded(layout: Layout) -> dict[str, tuple[int, float]]:
    try:
        known = json.loads(layout.processes.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: (pid, born) for name, (pid, born) in known.items()}


def _alive(pid: int, born: float) -> psutil.Process | None:
    """The process that was started, unless it has ended; its id may be another's by now."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
