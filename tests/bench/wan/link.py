"""Two network namespaces joined by an emulated link that counts what it carries. Needs root; leaves nothing behind."""

import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workloads.spec.errors import UserError

ADDRESSES = ("10.77.0.1", "10.77.0.2")
DEVICE = "wan0"
_PREFIX = "isthmus-wan-"
_MTU = 1500
_QUEUE_MS = 200  # what a router's buffer holds at the link's rate
_STOP_LIMIT_S = 10
_COUNTERS = struct.Struct("=6Q")


@dataclass(frozen=True)
class LinkSetting:
    """A link's rate and round-trip time; a half of that each way."""

    rate_mbps: float
    rtt_ms: float

    def __str__(self) -> str:
        return f"{self.rate_mbps:g} Mbit/s {self.rtt_ms:g} ms"


@dataclass(frozen=True)
class Carried:
    """IP bytes and packets in both directions together, and packets that found the queue full."""

    bytes: int
    packets: int
    drops: int


@dataclass(frozen=True)
class Link:
    """A link that is up. `namespaces[i]` holds site i at `ADDRESSES[i]`; `counters` is a file that `carried` reads."""

    namespaces: tuple[str, str]
    counters: Path

    def inside(self, site: int) -> list[str]:
        """What a command begins with that is to run at `site`."""
        return ["ip", "netns", "exec", self.namespaces[site]]


def carried(counters: Path) -> Carried:
    """What a link has carried since it is up."""
    there = _COUNTERS.unpack(counters.read_bytes())
    return Carried(bytes=there[0] + there[3], packets=there[1] + there[4], drops=there[2] + there[5])


def ensure_possible() -> None:
    """Raises `UserError` if no link can be made here."""
    if os.geteuid() != 0:
        raise UserError("the link needs network namespaces, which only root can make; run this as root")
    for tool in ("ip", "cc"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not on PATH; install iproute2 and a C compiler")
    if not Path("/dev/net/tun").exists():
        raise UserError("/dev/net/tun is missing; load the kernel's tun module")


def build(folder: Path) -> Path:
    """The emulator, compiled into `folder`."""
    program = folder / "link"
    subprocess.run(["cc", "-O2", "-o", program, Path(__file__).with_name("link.c")], check=True)
    return program


@contextmanager
def link(program: Path, setting: LinkSetting, folder: Path) -> Iterator[Link]:
    """A link of `setting` by the emulator `program`, with its counters in `folder`."""
    _remove_orphans()
    there = Link((f"{_PREFIX}{os.getpid()}-a", f"{_PREFIX}{os.getpid()}-b"), folder / "counters")
    there.counters.unlink(missing_ok=True)
    with ExitStack() as stack:
        for namespace in there.namespaces:
            _ip("netns", "add", namespace)
            stack.callback(_remove, namespace)
        stack.enter_context(_running(program, setting, there))
        for namespace, address in zip(there.namespaces, ADDRESSES, strict=True):
            _ip("-n", namespace, "address", "add", f"{address}/30", "dev", DEVICE)
            _ip("-n", namespace, "link", "set", DEVICE, "mtu", str(_MTU), "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
        yield there


@contextmanager
def _running(program: Path, setting: LinkSetting, there: Link) -> Iterator[None]:
    figures = (setting.rate_mbps * 1e6, setting.rtt_ms / 2 * 1e6, _QUEUE_MS * 1e6)
    command = [str(program), *there.namespaces, *(f"{figure:.0f}" for figure in figures), str(there.counters)]
    # a session of its own: an interrupt at the keyboard is for the benchmark, which then ends its parts in order
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        if not process.stdout or process.stdout.readline() != "ready\n":
            raise UserError("the link did not come up; the reason stands above")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_LIMIT_S)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _remove_orphans() -> None:
    """Namespaces of a benchmark that was killed."""
    for path in Path("/run/netns").glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).split("-")[0]
        if not Path("/proc", owner).exists():
            _remove(path.name)


def _remove(namespace: str) -> None:
    _ip("netns", "delete", namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
