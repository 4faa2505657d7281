"""The first process of a node: it makes the machine look like one, starts its services, and ends with any of them.

usage: python3 -I inside.py DOCUMENT, in namespaces of its own for network, mounts, processes and host name; the document
is that of `node_files.document`. Standard library alone. As the first process it also reaps what others leave.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")
_POLL_S = 0.1
_RUNTIME_LIMIT_S, _SOCKET_LIMIT_S = 60, 120

Service = Mapping[str, Any]


def main(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    socket.sethostname(document["name"])
    os.environ["PATH"] = f"{document['path']}:{os.environ['PATH']}"
    for hierarchy in _CGROUPS.iterdir():
        if (hierarchy / "cgroup.procs").exists():
            _join(hierarchy, document["cgroup"])
    _furnish(document)
    # a socket of before would look like a kubelet that takes plugins
    shutil.rmtree(Path(document["plugin_socket"]).parent, ignore_errors=True)
    runtime = _start_runtime(document)
    running = [runtime, *_start_services(document, runtime), *map(_start, document["plugins"])]
    pids = {process.pid for process in running}
    ended, status = os.wait()
    while ended not in pids:  # somebody's orphan
        ended, status = os.wait()
    sys.exit(f"{document['name']}: process {ended} of {sorted(pids)} ended, with status {status}; see its own log")


def _join(hierarchy: Path, name: str) -> None:
    """This process and all that it starts go into a cgroup; of cpusets each level has to be given what it may use."""
    group = hierarchy
    for part in Path(name).parts:
        above, group = group, group / part
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists():
                (group / setting).write_text((above / setting).read_text(encoding="ascii"), encoding="ascii")
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def _furnish(document: Mapping[str, Any]) -> None:
    """Folders of the node's own, in a tree of mounts that reaches containers and never the host."""
    _run("mount", "--make-rshared", "/")
    for source, target in document["binds"].items():
        Path(source).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", source, target)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name, text in document["files"].items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    for index, (name, text) in enumerate(document["shown"].items()):
        source = Path(f"/run/shown-{index}")
        source.write_text(text, encoding="ascii")
        _run("mount", "--bind", str(source), name)
    _show_cpus(document["cpus"])


def _show_cpus(count: int) -> None:
    """What kubelet counts: where there are no folders of NUMA nodes, those of CPUs. It uses those that are online."""
    online = Path("/sys/devices/system/cpu/online").read_text(encoding="ascii")
    for name in ("node", "cpu"):
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"/sys/devices/system/{name}")
    folder = Path("/sys/devices/system/cpu")
    (folder / "online").write_text(online, encoding="ascii")
    for number in range(count):
        topology = folder / f"cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "core_id").write_text(f"{number}\n", encoding="ascii")
        (topology / "physical_package_id").write_text("0\n", encoding="ascii")


def _start_runtime(document: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    started = _start(document["runtime"])
    _await("containerd", lambda: _answers(document["runtime_ready"]), _RUNTIME_LIMIT_S, [started])
    return started


def _start_services(document: Mapping[str, Any], runtime: subprocess.Popen[bytes]) -> list[subprocess.Popen[bytes]]:
    """Until kubelet takes plugins, what ends is started again, as a supervisor would.

    Containerd answers before its interface for kubelet is there, and a kubelet that comes too early ends.
    """
    services, socket_of_plugins = document["services"], Path(document["plugin_socket"])
    running = [_start(service) for service in services]

    def ready() -> bool:
        for index, process in enumerate(running):
            if process.poll() is not None:
                running[index] = _start(services[index])
        return socket_of_plugins.is_socket()

    _await("kubelet's socket for plugins", ready, _SOCKET_LIMIT_S, [runtime])
    return running


def _start(service: Service) -> subprocess.Popen[bytes]:
    with Path(service["log"]).open("ab") as log:
        return subprocess.Popen(service["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def _answers(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _await(what: str, ready: Callable[[], bool], limit_s: float, running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends this process, and so the node, if one of `running` ends before or it takes too long."""
    deadline = time.monotonic() + limit_s
    while not ready():
        if ended := [process.args for process in running if process.poll() is not None]:
            sys.exit(f"{what}: {ended[0]} ended; see its own log")
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not there after {limit_s:g} s")
        time.sleep(_POLL_S)


if __name__ == "__main__":
    # the first process of a PID namespace hears no signal that it does not ask for
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main(Path(sys.argv[1]))
