"""How requests find a replica: retries, timeouts, and the other site when this one fails. Pure.

Proxies prefer replicas of their own zone, then of their region, and go to the other site only when outlier detection has
taken out enough of the near ones; without it they would never leave:
https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/failover/
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any, Final

from infra.settings import Settings

Manifest = dict[str, Any]

API: Final = "networking.istio.io/v1"

# Only what tells that the request was not begun, or that its replica went away: a model's answer changes nothing, so the
# other replica may be asked. https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
RETRY_ON: Final = "connect-failure,refused-stream,reset-before-request,unavailable,retriable-status-codes,503"


def regions(settings: Settings) -> tuple[str, str]:
    """Regions of the two sites, as the nodes' labels have them."""
    (_, aws), (_, openstack) = settings.aws_site, settings.openstack_site
    return aws.region, openstack.region.lower()


def outlier_detection(consecutive_errors: int = 3) -> Manifest:
    """Take a replica out after as many errors in a row, and all of them if need be: then the other site is asked."""
    return {
        "consecutive5xxErrors": consecutive_errors,
        "consecutiveGatewayErrors": consecutive_errors,
        "interval": "5s",
        "baseEjectionTime": "30s",
        "maxEjectionPercent": 100,
        # below this share of healthy replicas Envoy would spread over sick ones as well
        "minHealthPercent": 0,
    }


def locality(between: Sequence[str]) -> Manifest:
    """Near replicas first; each region fails over to the others, in order."""
    pairs = [{"from": one, "to": other} for one, other in permutations(dict.fromkeys(between), 2)]
    return {"enabled": True, "failover": pairs}


def traffic_policy(between: Sequence[str], connections: int = 1024, requests: int = 1024) -> Manifest:
    """The policy of a service with replicas at both sites. `requests` are those in flight and waiting, for all replicas."""
    return {
        "connectionPool": {
            # a cut link drops packets in silence: keep-alives find out within half a minute
            "tcp": {
                "maxConnections": connections,
                "connectTimeout": "3s",
                "tcpKeepalive": {"time": "10s", "interval": "5s", "probes": 3},
            },
            "http": {"http1MaxPendingRequests": requests, "http2MaxRequests": requests},
        },
        "loadBalancer": {"simple": "LEAST_REQUEST", "localityLbSetting": locality(between)},
        "outlierDetection": outlier_detection(),
    }


def destination_rule(name: str, namespace: str, host: str, policy: Manifest) -> Manifest:
    """The rule of a host. The most specific rule of a host is the only one that counts: it has to say everything."""
    return {
        "apiVersion": API,
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"host": host, "trafficPolicy": policy},
    }


def retries(attempts: int = 2, per_try_s: float = 10.0) -> Manifest:
    """Retries of a request, to another replica than the one that failed, at the other site if there is none here."""
    return {
        "attempts": attempts,
        "perTryTimeout": duration(per_try_s),
        "retryOn": RETRY_ON,
        "retryRemoteLocalities": True,
    }


def virtual_service(
    name: str,
    namespace: str,
    host: str,
    gateway: str,
    destination: str,
    port: int,
    timeout_s: float = 30.0,
    retried: Manifest | None = None,
) -> Manifest:
    """What the gateway does with requests for `host`: send them to `destination`, within `timeout_s` with all retries."""
    route: Manifest = {
        "route": [{"destination": {"host": destination, "port": {"number": port}}}],
        "timeout": duration(timeout_s),
        "retries": retried if retried is not None else retries(per_try_s=timeout_s / 3),
    }
    return {
        "apiVersion": API,
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": [host], "gateways": [gateway], "http": [route]},
    }


def duration(seconds: float) -> str:
    """A time as Istio writes it, to the millisecond."""
    return f"{round(seconds * 1000)}ms" if seconds % 1 else f"{int(seconds)}s"
