"""The lab's networks: what is made, as commands of iproute2. Pure, but for `make` and `remove`.

host --isthmus-lab-- isthmus-control (bridge `backbone`) -- isthmus-aws == emulated WAN == isthmus-os
                                                                 |                            |
                                                             aws-gpu-0                    os-gpu-0
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from tests.lab.cluster.layout import (
    API,
    AWS,
    AWS_BORDER,
    CONTROL,
    DEVICE,
    HOST,
    NAMESPACES,
    OPENSTACK,
    POD_IDENTITY,
    SPACES,
    WAN,
    WAN_DEVICE,
)
from tests.lab.cluster.plan import Node, Plan, Site
from tests.lab.daemons import LabError

Command = Sequence[str]

_DEVICE_FOLDER = Path("/sys/class/net", DEVICE)


def backbone(plan: Plan) -> Iterator[Command]:
    """The control plane's network, the sites', and who is reached by whom."""
    for namespace in SPACES:
        yield "ip", "netns", "add", namespace
        yield _in(namespace, "link", "set", "lo", "up")
    yield from _bridge(CONTROL, "backbone", str(API))
    yield "ip", "link", "add", DEVICE, "type", "veth", "peer", "name", "host", "netns", CONTROL
    yield "ip", "address", "add", str(HOST), "dev", DEVICE
    yield "ip", "link", "set", DEVICE, "up"
    yield from _plug(CONTROL, "backbone", "host")
    yield _in(AWS, "link", "add", "backbone", "type", "veth", "peer", "name", "aws", "netns", CONTROL)
    yield _in(AWS, "address", "add", str(AWS_BORDER), "dev", "backbone")
    yield _in(AWS, "link", "set", "backbone", "up")
    yield from _plug(CONTROL, "backbone", "aws")
    for site in plan.sites:
        yield _sysctl(site.namespace, "net.ipv4.ip_forward=1")
        yield from _bridge(site.namespace, "lan", str(site.gateway))
        yield "ip", "route", "add", str(site.supernet), "via", str(AWS_BORDER.ip)
        yield _in(CONTROL, "route", "add", str(site.supernet), "via", str(AWS_BORDER.ip))
        # whoever applies the stack reaches an object store by the internet and not by the link
        yield _in(CONTROL, "address", "add", f"{site.gateway.ip}/32", "dev", "lo")
        yield "ip", "route", "add", f"{site.gateway.ip}/32", "via", str(API.ip)


def wan_ends(plan: Plan) -> Iterator[Command]:
    """Both ends of the link, once the emulator has made its devices."""
    near, far = WAN.hosts()
    for namespace, address in ((AWS, near), (OPENSTACK, far)):
        yield _in(namespace, "address", "add", f"{address}/{WAN.prefixlen}", "dev", WAN_DEVICE)
        yield _in(namespace, "link", "set", WAN_DEVICE, "mtu", str(plan.link_mtu), "up")
    yield _in(AWS, "route", "add", str(plan.openstack.supernet), "via", str(far))
    yield _in(OPENSTACK, "route", "add", "default", "via", str(near))


def attach(node: Node, site: Site) -> Iterator[Command]:
    """A node on its site's network, and the way to its pods; `POD_IDENTITY` is the node's own, as EKS's agent has it."""
    yield _in(node.namespace, "link", "add", "eth0", "type", "veth", "peer", "name", node.name, "netns", site.namespace)
    yield from _plug(site.namespace, "lan", node.name)
    yield _in(node.namespace, "address", "add", str(node.address), "dev", "eth0")
    yield _in(node.namespace, "address", "add", f"{POD_IDENTITY}/32", "dev", "lo")
    yield _in(node.namespace, "link", "set", "eth0", "up")
    yield _in(node.namespace, "route", "add", "default", "via", str(site.gateway.ip))
    yield _sysctl(node.namespace, "net.ipv4.ip_forward=1")
    yield _in(site.namespace, "route", "add", str(node.pods), "via", str(node.address.ip))


def run(commands: Iterator[Command]) -> None:
    """Raises `LabError` with what a command said."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def make(plan: Plan, note: Path) -> None:
    """Namespaces and what joins them, all but the link. Raises `LabError`.

    iproute2 mounts the folder of namespaces onto itself with the first of them; `note` is left where it was not yet.
    """
    if not NAMESPACES.is_mount():
        note.touch()
    run(backbone(plan))
    for node in plan.nodes:
        run(attach(node, plan.site_of(node)))


def present() -> list[str]:
    """Those of the lab's namespaces and devices that are there."""
    made = [name for name in SPACES if (NAMESPACES / name).exists()]
    return [*made, DEVICE] if _DEVICE_FOLDER.exists() else made


def remove(note: Path) -> None:
    """Take them away with whoever is left inside, and so the routes; what is not there is no matter. Raises `LabError`."""
    if _DEVICE_FOLDER.exists():
        run(iter([("ip", "link", "delete", DEVICE)]))
    for name in SPACES:
        if not (NAMESPACES / name).exists():
            continue
        left = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in map(int, left.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run(iter([("ip", "netns", "delete", name)]))
    if note.exists():
        if NAMESPACES.is_mount() and not any(NAMESPACES.iterdir()):
            run(iter([("umount", str(NAMESPACES))]))
        note.unlink()


def taken(plan: Plan) -> list[str]:
    """Routes of this machine that the lab's would run into. Raises `LabError`."""
    listed = subprocess.run(["ip", "-json", "route"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise LabError(f"ip route: {listed.stderr.strip()}")
    return overlapping(json.loads(listed.stdout), [HOST.network, *(site.supernet for site in plan.sites)])


def overlapping(routes: Sequence[Mapping[str, Any]], networks: Sequence[IPv4Network]) -> list[str]:
    """Of the routes that `ip -json route` lists, all but the default one."""
    known = [(IPv4Network(route["dst"]), route) for route in routes if route["dst"] != "default"]
    return [
        f"{network} by {route.get('dev', route.get('type', '?'))}"
        for network, route in known
        if any(network.overlaps(wanted) for wanted in networks)
    ]


def _in(namespace: str, *arguments: str) -> Command:
    return ("ip", "-netns", namespace, *arguments)


def _sysctl(namespace: str, setting: str) -> Command:
    return ("ip", "netns", "exec", namespace, "sysctl", "--quiet", "--write", setting)


def _bridge(namespace: str, name: str, address: str) -> Iterator[Command]:
    yield _in(namespace, "link", "add", name, "type", "bridge")
    yield _in(namespace, "address", "add", address, "dev", name)
    yield _in(namespace, "link", "set", name, "up")


def _plug(namespace: str, bridge: str, device: str) -> Iterator[Command]:
    yield _in(namespace, "link", "set", device, "master", bridge)
    yield _in(namespace, "link", "set", device, "up")
