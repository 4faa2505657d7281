"""Two nodes made of network namespaces, with two pods each, in which real connections show what a policy does."""

import errno
import json
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.policies import namespaces, objects, ruleset
from tests.lab.policies.enforcement import apply
from tests.lab.policies.fences import fences
from tests.lab.policies.objects import Snapshot

PREFIX = "policies-"  # of namespaces, and then the process that made them
LIMIT_S = 20
ONE, TWO = "one", "two"
# a pod's node and address; NEAR is on the node of OWN
OWN, NEAR, FAR, OTHER = "own", "near", "far", "other"
PODS = {
    OWN: (ONE, "10.91.1.2"),
    NEAR: (ONE, "10.91.1.3"),
    FAR: (TWO, "10.91.2.2"),
    OTHER: (TWO, "10.91.2.3"),  # in another kubernetes namespace
}
OUTSIDE = "198.51.100.7"  # an address behind node two
PORTS = (80, 81, 90)
Raw = dict[str, Any]


def lacking() -> str:
    """What this machine lacks for it; empty if it lacks nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft", "sysctl", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not on PATH"
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        return "namespaces are not to be had here"
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        return "packets that a bridge passes are not seen here: load the kernel's module br_netfilter"
    return ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@dataclass
class Nodes:
    """Two nodes with a bridge each, a wire between them, and two pods on each."""

    spaces: dict[str, str]
    listening: list[socket.socket] = field(default_factory=list)

    def listen(self, pod: str) -> None:
        for port in PORTS:
            one = self.opened(pod, socket.SOCK_STREAM)
            one.bind((PODS[pod][1], port))
            one.listen(64)
            self.listening.append(one)

    def opened(self, where: str, kind: int) -> socket.socket:
        with namespaces.inside(self.spaces[where]):
            return socket.socket(socket.AF_INET, kind)

    def enforce(self, *policies: Raw) -> None:
        """What both nodes' enforcement would make of the policies."""
        known = Snapshot(
            pods=tuple(objects.pod(manifest(name)) for name in PODS),
            namespaces={"a": {"team": "a"}, "b": {"team": "b"}},
            policies=tuple(map(objects.policy, policies)),
        )
        for node in (ONE, TWO):
            with namespaces.inside(self.spaces[node]):
                apply(ruleset.ruleset(fences(known, node)))

    def reaches(self, source: str, target: str, port: int = 80, start: str | None = None) -> bool:
        """Whether a connection stands; if not, a node has said that it refused it."""
        with self.opened(source, socket.SOCK_STREAM) as one:
            one.setblocking(False)
            if start:
                one.bind((start, 0))
            end = PODS[target][1] if target in PODS else target
            before = start or PODS[source][1]
            self.forget()
            assert one.connect_ex((end, port)) == errno.EINPROGRESS
            deadline = time.monotonic() + LIMIT_S
            while time.monotonic() < deadline:
                if select.select([], [one], [], 0.01)[1]:
                    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                    return True
                if [before, end, "tcp", port] in self.refused():
                    return False
        raise AssertionError(f"{source} to {target}:{port}: neither let through nor refused within {LIMIT_S} s")

    def refused(self) -> list[list[Any]]:
        """Source, destination, protocol and port of what was refused since the last `forget`."""
        listing = ("-j", "list", "set", *ruleset.TABLE.split(), ruleset.REFUSED)
        said = (entry for node in (ONE, TWO) for entry in json.loads(self._nft(node, *listing))["nftables"])
        return [element["elem"]["val"]["concat"] for entry in said for element in entry.get("set", {}).get("elem", ())]

    def table(self, node: str) -> str:
        return self._nft(node, "list", "ruleset")

    def forget(self) -> None:
        for node in (ONE, TWO):
            self._nft(node, "flush", "set", *ruleset.TABLE.split(), ruleset.REFUSED)

    def _nft(self, node: str, *arguments: str) -> str:
        with namespaces.inside(self.spaces[node]):
            return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def made() -> Iterator[Nodes]:
    _remove_orphans()
    spaces = {name: f"{PREFIX}{os.getpid()}-{name}" for name in (ONE, TWO, *PODS)}
    with ExitStack() as stack:
        for space in spaces.values():
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "delete", space)
            _ip("-n", space, "link", "set", "lo", "up")
        _wire(spaces)
        there = Nodes(spaces)
        for name in PODS:
            there.listen(name)
        stack.callback(lambda: [one.close() for one in there.listening])
        yield there


def _remove_orphans() -> None:
    """Namespaces of a run that was killed."""
    listed = json.loads(
        subprocess.run(["ip", "-j", "netns"], check=True, capture_output=True, text=True).stdout or "[]"
    )
    for space in (entry["name"] for entry in listed if entry["name"].startswith(PREFIX)):
        if not Path("/proc", space.split("-")[1]).exists():
            _ip("netns", "delete", space)


def _wire(spaces: dict[str, str]) -> None:
    one, two = spaces[ONE], spaces[TWO]
    _ip("-n", one, "link", "add", "wan", "type", "veth", "peer", "wan", "netns", two)
    for node, own, other, number in ((ONE, "1", "2", 1), (TWO, "2", "1", 2)):
        space = spaces[node]
        _ip("-n", space, "address", "add", f"10.91.0.{own}/24", "dev", "wan")
        _ip("-n", space, "link", "add", "pods", "type", "bridge")
        _ip("-n", space, "address", "add", f"10.91.{number}.1/24", "dev", "pods")
        for device in ("wan", "pods"):
            _ip("-n", space, "link", "set", device, "up")
        _ip("-n", space, "route", "add", f"10.91.{other}.0/24", "via", f"10.91.0.{other}")
        with namespaces.inside(space):
            settings = ("net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")
            subprocess.run(["sysctl", "-qw", *settings], check=True)
    _ip("-n", two, "address", "add", f"{OUTSIDE}/32", "dev", "lo")
    _ip("-n", one, "route", "add", f"{OUTSIDE}/32", "via", "10.91.0.2")
    for name, (node, address) in PODS.items():
        _ip("-n", spaces[node], "link", "add", name, "type", "veth", "peer", "eth0", "netns", spaces[name])
        _ip("-n", spaces[node], "link", "set", name, "master", "pods", "up")
        _ip("-n", spaces[name], "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", spaces[name], "link", "set", "eth0", "up")
        _ip("-n", spaces[name], "route", "add", "default", "via", f"{address.rpartition('.')[0]}.1")


def manifest(name: str) -> Raw:
    node, address = PODS[name]
    named = [{"name": "web", "containerPort": 81}]
    return {
        "metadata": {"name": name, "namespace": "b" if name == OTHER else "a", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "ports": named}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    }
