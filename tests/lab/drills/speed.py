"""The same training over the link and over one that is as fast as this machine: between pods on two nodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from tests.lab.cluster import Cluster, networks, wan
from tests.lab.daemons import until
from workloads.spec.artifact import RunResult

_NO_LINK: Final = (4000.0, 0.02)
"""Mbit/s and ms of round trip: more than pods on two cores can use."""
_LIMIT_S: Final = 30


@contextmanager
def without_link(cluster: Cluster) -> Iterator[None]:
    """No rate and no delay but the machine's own. Whoever speaks over the link loses packets for a moment."""
    link(cluster, *_NO_LINK)
    try:
        yield
    finally:
        link(cluster, cluster.plan.rate_mbps, cluster.plan.rtt_ms)


def link(cluster: Cluster, rate_mbps: float, rtt_ms: float) -> None:
    """Another emulator in place of the one that joins the sites. Raises `LabError`."""
    plan = replace(cluster.plan, rate_mbps=rate_mbps, rtt_ms=rtt_ms)
    daemon = wan.daemon(cluster.layout, plan)
    daemon.stop()
    daemon.start()
    until("the link", lambda: "ready" in daemon.log_tail(), _LIMIT_S, daemon)
    networks.run(networks.wan_ends(plan))


def row(name: str, result: RunResult) -> dict[str, Any]:
    """A line of the report's table. Pure."""
    return {
        "name": name,
        "rounds": result.rounds,
        "samples": result.samples,
        "wall_s": round(result.wall_s, 2),
        "samples_per_s": round(result.samples / result.wall_s, 2),
        "wait_s": {site: round(seconds, 2) for site, seconds in result.wait_s.items()},
        "wire_bytes": sum(result.wire_bytes_sent.values()),
    }
