"""Values of Istio's charts, and what the mesh writes down. Pure."""

from typing import Any

from infra.mesh.fencing import INGRESS_NAMESPACE, MESH_NAMESPACE
from infra.releases import OFF_HYBRID_NODES

Manifest = dict[str, Any]

_TELEMETRY = "telemetry.istio.io/v1"


def base_values() -> Manifest:
    """Of the chart of kinds."""
    return {"base": _validation()}


def cni_values() -> Manifest:
    """Of the plugin that redirects traffic in place of a privileged init container in each pod; it runs on every node."""
    return {"cni": {"excludeNamespaces": ["kube-system", MESH_NAMESPACE]}}


def istiod_values() -> Manifest:
    """Of the control plane: near the cluster's own, as it serves webhooks that hybrid nodes lose with the link."""
    return {
        "affinity": dict(OFF_HYBRID_NODES),
        "autoscaleMin": 2,
        "replicaCount": 2,
        "seccompProfile": {"type": "RuntimeDefault"},
        "cni": {"enabled": True},
        "base": _validation(),
        "meshConfig": {
            "accessLogEncoding": "JSON",
            # an application's first request would else go out before its proxy is there
            "defaultConfig": {"holdApplicationUntilProxyStarts": True},
            # what pods may reach outside is said by network policies, which hold without a sidecar too
            "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
        },
        "global": {
            "proxy": {"resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}}
        },
    }


def access_logs() -> list[Manifest]:
    """Every request at the door; inside, those that failed."""
    inside = {"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}}
    return [
        _logs(MESH_NAMESPACE, inside),
        _logs(INGRESS_NAMESPACE, {"providers": [{"name": "envoy"}]}),
    ]


def _validation() -> Manifest:
    """The chart says from the start what istiod's webhook controller will write: two writers that agree do not fight.

    Left alone the chart writes `Ignore` and istiod `Fail` after it, which every comparison shows as a change and which
    server-side apply calls a conflict: https://github.com/istio/istio/issues/44285, https://github.com/istio/istio/pull/59367
    """
    return {"validationFailurePolicy": "Fail"}


def _logs(namespace: str, logging: Manifest) -> Manifest:
    return {
        "apiVersion": _TELEMETRY,
        "kind": "Telemetry",
        "metadata": {"name": "access-logs", "namespace": namespace},
        "spec": {"accessLogging": [logging]},
    }
