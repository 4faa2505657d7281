"""Start and stop the control plane: its environment, its databases, its processes."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from infra.settings import ROOT
from tests.lab.daemons import Daemon, LabError, until
from tests.lab.environments import answers, install, require_free
from tests.lab.openstack.config import files
from tests.lab.openstack.layout import HOST, PORTS, Layout

LOCK = Path(__file__).with_name("requirements.txt")
_START_LIMIT_S = 180
_INSIDE = "tests.lab.openstack.inside"
_SWIFT = ("swift-account", "swift-container", "swift-object", "swift-proxy")
_SERVICES = ("keystone", "placement", "neutron", "nova", "glance", "barbican", "octavia", *_SWIFT)
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
    require_free(HOST, PORTS)
    install(LOCK, layout.environment)
    _lay_out(layout)
    try:
        _start(layout)
    except BaseException:
        stop(layout)
        raise


def stop(layout: Layout) -> None:
    """End what was started, side by side, and wait until it is gone."""
    with ThreadPoolExecutor(len(_SERVICES)) as pool:
        list(pool.map(lambda name: _daemon(layout, name).stop(), _SERVICES))


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
        _daemon(layout, name).start()
    _await_port(layout, "keystone")
    for name in ("neutron", "nova"):
        _daemon(layout, name).start()
    ask(layout, "seed", root, "catalogue")
    for name in ("glance", "barbican", "octavia", *_SWIFT):
        _daemon(layout, name).start()
    for name in PORTS:
        _await_port(layout, name)
    until("nova's compute", layout.compute_ready.exists, _START_LIMIT_S, _daemon(layout, "nova"))
    ask(layout, "seed", root, "project")


_MAKES = ("nova", "keystone", "neutron", "barbican", "glance", "octavia", "swift")


def _daemon(layout: Layout, name: str) -> Daemon:
    if name in _SWIFT:
        kind = name.removeprefix("swift-")
        command = [str(layout.environment / "bin" / f"{name}-server"), str(layout.etc / "swift" / f"{kind}.conf"), "-v"]
    else:
        command = [str(layout.python), "-m", f"{_INSIDE}.serve", str(layout.root), name]
    return Daemon(name, command, layout.logs, environment(layout))


def _await_port(layout: Layout, name: str) -> None:
    port = PORTS[name]
    until(f"{name} on {port}", lambda: answers(HOST, port), _START_LIMIT_S, _daemon(layout, name))
