"""What must hold before anything of the lab starts: looked at all at once, said a line each with its remedy."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from infra.settings import ROOT
from tests.lab.aws.layout import PORTS as AWS_PORTS
from tests.lab.cluster import Cluster
from tests.lab.cluster.layout import DEVICE, SPACES
from tests.lab.cluster.networks import taken
from tests.lab.daemons import Daemon
from tests.lab.openstack.layout import PORTS

LISTENING: Final[Mapping[str, int]] = {**AWS_PORTS, **PORTS}
"""By what will listen there: ports of loopback."""

DISK_COLD_GIB: Final = 40
"""What images, their layers and two nodes' copies take, before anything is built; afterwards `DISK_WARM_GIB` will do."""
DISK_BUILT_GIB: Final = 20
"""What is left of it once the images are built: their copies at the nodes."""
DISK_WARM_GIB: Final = 8
MEMORY_GIB: Final = 6
_TOOLS: Final[Mapping[str, str]] = {
    "go": "install Go and put it on PATH",
    "ip": "apt install iproute2",
    "cc": "apt install gcc libc6-dev",
    "nsenter": "apt install util-linux",
}
_TUN: Final = Path("/dev/net/tun")
_GIB: Final = 1 << 30
_RECORDS: Final = ("cluster/run/*.pid", "aws/run/*.pid", "openstack/run/log/*.pid")
_RECORD: Final = re.compile(r"\d+ \d+\n?")


@dataclass(frozen=True)
class Facts:
    """This machine, as the lab would find it."""

    user: int
    missing: tuple[str, ...]  # of the tools that are called by name
    has_tun: bool
    go: tuple[int, int] | None  # its version; None where there is none
    go_needed: tuple[int, int]
    in_use: Mapping[str, str]  # who listens, by what of the lab would: "4566 (python3, process 12)"
    namespaces: tuple[str, ...]  # of the lab's names
    devices: tuple[str, ...]
    routes: tuple[str, ...]  # of others, into the lab's networks
    disk_gib: float  # free
    disk_needed_gib: float
    memory_gib: float
    recorded: tuple[str, ...]  # processes of an earlier lab that run
    was_here: bool  # an earlier lab has left its folder of records


def faults(facts: Facts) -> list[str]:
    """A line for each thing that does not hold, with value, limit and remedy. Pure."""
    return [*_of_rights_and_tools(facts), *_of_room(facts), *_of_others(facts)]


def _of_rights_and_tools(facts: Facts) -> Iterator[str]:
    if facts.user != 0:
        yield f"user {facts.user} is not root, which network namespaces and containers need; run it with sudo"
    for tool in facts.missing:
        yield f"{tool} is not on PATH; {_TOOLS[tool]}"
    if not facts.has_tun:
        yield f"{_TUN} is missing, which the link is made of; load the kernel's module tun"
    if facts.go is not None and facts.go < facts.go_needed:
        have, need = (".".join(map(str, version)) for version in (facts.go, facts.go_needed))
        yield f"Go {have} is older than {need}, which the cluster's modules name; install a newer one"


def _of_room(facts: Facts) -> Iterator[str]:
    if facts.disk_gib < facts.disk_needed_gib:
        free, needed = f"{facts.disk_gib:.0f}", f"{facts.disk_needed_gib:.0f}"
        yield f"disk: {free} GiB are free at .state, the lab needs {needed}; make room there"
    if facts.memory_gib < MEMORY_GIB:
        yield f"memory: {facts.memory_gib:.1f} GiB are free, the lab needs {MEMORY_GIB}; end what takes it"


def _of_others(facts: Facts) -> Iterator[str]:
    if facts.recorded:
        some = ", ".join(facts.recorded[:4]) + (", …" if len(facts.recorded) > 4 else "")
        yield f"an earlier lab still runs ({len(facts.recorded)} processes: {some}); run `make lab-down` first"
        return  # ports and namespaces are its own
    for name, who in facts.in_use.items():
        yield f"port {who}, is where {name} would listen; end it"
    for kind, remove, names in (
        ("network namespace", "ip netns delete", facts.namespaces),
        ("network device", "ip link delete", facts.devices),
    ):
        if not names:
            continue
        remedy = "run `make lab-down`" if facts.was_here else f"if nobody needs it, `{remove} {names[0]}`"
        yield f"{kind} {', '.join(names)} is there already, and no lab of this checkout runs; {remedy}"
    if facts.routes and not facts.devices:
        yield f"network {', '.join(facts.routes)} is this machine's already, and the lab's too; remove that route"


def look(lab: Path) -> Facts:
    """This machine as it is."""
    existing = next(path for path in (lab, *lab.parents) if path.exists())
    return Facts(
        user=os.geteuid(),
        has_tun=_TUN.exists(),
        missing=tuple(tool for tool in _TOOLS if shutil.which(tool) is None),
        go=_go_version(),
        go_needed=needed_go(path.read_text(encoding="utf-8") for path in (ROOT / "tests/lab").rglob("go.mod")),
        in_use=_listeners(LISTENING),
        namespaces=tuple(name for name in SPACES if Path("/run/netns", name).exists()),
        devices=tuple(name for name in (DEVICE,) if Path("/sys/class/net", name).exists()),
        routes=tuple(taken(Cluster().plan)) if shutil.which("ip") else (),
        disk_gib=shutil.disk_usage(existing).free / _GIB,
        disk_needed_gib=disk_needed_gib(lab),
        memory_gib=psutil.virtual_memory().available / _GIB,
        recorded=tuple(living(lab)),
        was_here=(lab / "cluster/run").exists(),
    )


def needed_go(modules: Iterator[str] | Sequence[str]) -> tuple[int, int]:
    """The newest Go that module files name. Pure."""
    named = [re.search(r"^go (\d+)\.(\d+)", text, re.MULTILINE) for text in modules]
    return max(((int(found[1]), int(found[2])) for found in named if found), default=(1, 21))


def living(lab: Path) -> list[str]:
    """Names of processes that an earlier command has recorded and that run."""
    records = [path for pattern in _RECORDS for path in sorted(lab.glob(pattern))]
    daemons = [path for path in records if _RECORD.fullmatch(path.read_text(encoding="utf-8"))]
    return [path.stem for path in daemons if Daemon(path.stem, (), path.parent).alive()]


def _go_version() -> tuple[int, int] | None:
    go = shutil.which("go")
    if go is None:
        return None
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _listeners(wanted: Mapping[str, int]) -> dict[str, str]:
    """Who listens on a port that the lab needs, on loopback or on every address."""
    there = {}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip in {"127.0.0.1", "0.0.0.0", "::", "::1"}:  # noqa: S104
            there[connection.laddr.port] = connection.pid
    return {name: f"{port}, in use by {_named(there[port])}" for name, port in wanted.items() if port in there}


def _named(pid: int | None) -> str:
    try:
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else "another program"
    except psutil.NoSuchProcess:
        return "a program that is just ending"


def disk_needed_gib(lab: Path) -> int:
    """What is still to be written, by what lies there."""
    if (lab / "cluster/nodes").exists():
        return DISK_WARM_GIB
    return DISK_BUILT_GIB if any((lab / "cluster/images").glob("trainer.tar")) else DISK_COLD_GIB
