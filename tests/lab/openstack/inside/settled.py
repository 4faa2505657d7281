"""What an amphora would report of a load balancer when all has gone well. Pure; imports nothing of Octavia's.

States and their meaning: https://docs.openstack.org/api-ref/load-balancer/v2/#status-codes
"""

from collections.abc import Iterator
from typing import Any

Report = dict[str, list[dict[str, str]]]


def report(balancer: Any) -> Report:
    """States by kind as a driver reports them, of what is to change alone.

    `balancer` is Octavia's model of a load balancer, with all below it. What waits to be made or changed is active,
    what waits to be deleted is deleted with all below it, and what has failed stays so.
    """
    told: Report = {}
    for kind, one, doomed, healthy in _all(balancer):
        waits = one.provisioning_status.startswith("PENDING_")
        if doomed:
            said = {"provisioning_status": "DELETED"}
        elif waits or one.provisioning_status == "ACTIVE":
            said = {
                "provisioning_status": "ACTIVE",
                "operating_status": healthy if one.enabled else "OFFLINE",
            }
        else:
            continue
        if any(getattr(one, name) != state for name, state in said.items()):
            told.setdefault(kind, []).append({"id": one.id, **said})
    return told


def _all(balancer: Any) -> Iterator[tuple[str, Any, bool, str]]:
    """Each object with its kind, whether it goes, and its operating status while it is enabled."""
    gone = _goes(balancer)
    yield "loadbalancers", balancer, gone, "ONLINE"
    for listener in balancer.listeners:
        listener_gone = gone or _goes(listener)
        yield "listeners", listener, listener_gone, "ONLINE"
        for policy in listener.l7policies:
            policy_gone = listener_gone or _goes(policy)
            yield "l7policies", policy, policy_gone, "ONLINE"
            for rule in policy.l7rules:
                yield "l7rules", rule, policy_gone or _goes(rule), "ONLINE"
    for pool in balancer.pools:
        pool_gone, monitor = gone or _goes(pool), pool.health_monitor
        yield "pools", pool, pool_gone, "ONLINE"
        if monitor is not None:
            yield "healthmonitors", monitor, pool_gone or _goes(monitor), "ONLINE"
        watched = monitor is not None and monitor.enabled and not _goes(monitor)
        for member in pool.members:
            yield "members", member, pool_gone or _goes(member), "ONLINE" if watched else "NO_MONITOR"


def _goes(one: Any) -> bool:
    return bool(one.provisioning_status == "PENDING_DELETE")
