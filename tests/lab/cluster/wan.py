"""The link between the sites: the emulator of the benchmarks, and its outage."""

import subprocess
from pathlib import Path
from typing import Final

from tests.bench.wan import link
from tests.lab.cluster.layout import AWS, OPENSTACK, WAN_DEVICE, Layout
from tests.lab.cluster.plan import Plan
from tests.lab.daemons import Daemon, LabError

_QUEUE_MS = 200  # what a router's buffer holds at the link's rate
_TABLE: Final = "inet isthmus-outage"

# The emulator ends with whoever started it, as benchmarks want it; so a shell stays for as long as the lab does, and ends
# after it, when its devices are gone and another may make them.
_STAY = "trap 'kill $!' TERM; \"$@\" & wait; wait"


def daemon(layout: Layout, plan: Plan) -> Daemon:
    """The emulator, at the plan's rate and half its round-trip time each way."""
    figures = (plan.rate_mbps * 1e6, plan.rtt_ms / 2 * 1e6, _QUEUE_MS * 1e6)
    program = (layout.bin / "link", AWS, OPENSTACK, *(f"{figure:.0f}" for figure in figures), layout.counters)
    return Daemon("link", ("sh", "-c", _STAY, "sh", *program), layout.run)


def carried(counters: Path) -> link.Carried:
    """What the link has carried since it is up. Raises `LabError` if it is not up."""
    try:
        return link.carried(counters)
    except FileNotFoundError:
        raise LabError("the link is not up; start the cluster first") from None


def outage() -> str:
    """For `nft`, at both ends: nothing goes in, and what is under way does not come out."""
    return (
        f"table {_TABLE} {{\n"
        f' chain in {{ type filter hook prerouting priority raw; iifname "{WAN_DEVICE}" drop; }}\n'
        f' chain out {{ type filter hook postrouting priority raw; oifname "{WAN_DEVICE}" drop; }}\n'
        "}\n"
    )


def mending() -> str:
    """For `nft`: the outage's end, whether there is one or not."""
    return f"table {_TABLE} {{}}\ndelete table {_TABLE}\n"


def at_both_ends(rules: str) -> None:
    """Raises `LabError` with what nft said."""
    for namespace in (AWS, OPENSTACK):
        command = ("ip", "netns", "exec", namespace, "nft", "-f", "-")
        done = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{namespace}: {done.stderr.strip()}")
