"""metrics-server's objects. Pure.

https://github.com/kubernetes-sigs/metrics-server/tree/v0.8.0/manifests
"""

from collections.abc import Sequence
from typing import Any, Final

from infra.manifests import restricted
from infra.releases import CHARTS, OFF_HYBRID_NODES

Manifest = dict[str, Any]

NAMESPACE: Final = CHARTS["metrics"].namespace
NAME: Final = "metrics-server"
API: Final = "v1beta1.metrics.k8s.io"
IMAGE: Final = f"localhost/{NAME}:1"
RESOLUTION_S: Final = 10
"""How often kubelets are asked; it takes two answers to know how busy a processor is. Less than 10 is refused."""

_PORT = 10250
_LABELS: Final = {"k8s-app": NAME}
_AUTHORITY: Final = "/etc/cluster"
_RBAC: Final = "rbac.authorization.k8s.io"


def manifests() -> list[Manifest]:
    """All of them."""
    return [
        _object("v1", "ServiceAccount", NAME, NAMESPACE),
        *_roles(),
        _service(),
        _deployment(),
        _api(),
    ]


def _roles() -> list[Manifest]:
    reading = ["get", "list", "watch"]
    aggregated = {f"{_RBAC}/aggregate-to-{role}": "true" for role in ("admin", "edit", "view")}
    own, delegated = f"system:{NAME}", "system:auth-delegator"
    reader = "extension-apiserver-authentication-reader"  # of whom the API server lets speak for others
    return [
        _role("system:aggregated-metrics-reader", [("metrics.k8s.io", ["pods", "nodes"], reading)], aggregated),
        _role(own, [("", ["nodes/metrics"], ["get"]), ("", ["pods", "nodes"], reading)]),
        _binding("ClusterRole", own, own),
        _binding("ClusterRole", f"{NAME}:{delegated}", delegated),
        _binding("Role", f"{NAME}-auth-reader", reader, "kube-system"),
    ]


def _role(
    name: str, rules: Sequence[tuple[str, list[str], list[str]]], labels: dict[str, str] | None = None
) -> Manifest:
    listed = [{"apiGroups": [group], "resources": kinds, "verbs": verbs} for group, kinds, verbs in rules]
    return _object(f"{_RBAC}/v1", "ClusterRole", name, labels=labels, rules=listed)


def _binding(kind: str, name: str, role: str, namespace: str | None = None) -> Manifest:
    """Of a Role in a namespace, or of a ClusterRole everywhere."""
    return _object(
        f"{_RBAC}/v1",
        f"{kind}Binding",
        name,
        namespace,
        roleRef={"apiGroup": _RBAC, "kind": kind, "name": role},
        subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    )


def _service() -> Manifest:
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": "https"}]
    return _object("v1", "Service", NAME, NAMESPACE, spec={"selector": dict(_LABELS), "ports": ports})


def _deployment() -> Manifest:
    return _object(
        "apps/v1",
        "Deployment",
        NAME,
        NAMESPACE,
        spec={
            "replicas": 1,
            "selector": {"matchLabels": dict(_LABELS)},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": {"metadata": {"labels": dict(_LABELS)}, "spec": restricted(_pod())},
        },
    )


def _pod() -> Manifest:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "priorityClassName": "system-cluster-critical",
        "affinity": dict(OFF_HYBRID_NODES),
        "containers": [
            {
                "name": NAME,
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "args": [
                    "--cert-dir=/tmp",
                    f"--secure-port={_PORT}",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--kubelet-use-node-status-port",
                    f"--kubelet-certificate-authority={_AUTHORITY}/ca.crt",
                    f"--metric-resolution={RESOLUTION_S}s",
                    # has to be the shorter of the two
                    f"--kubelet-request-timeout={RESOLUTION_S // 2}s",
                ],
                "ports": [{"name": "https", "containerPort": _PORT, "protocol": "TCP"}],
                "livenessProbe": _probe("/livez", 10),
                "readinessProbe": _probe("/readyz", 2),
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
                    {"name": "authority", "mountPath": _AUTHORITY, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            # the controller manager puts the authority's certificate into every namespace
            {"name": "authority", "configMap": {"name": "kube-root-ca.crt"}},
        ],
    }


def _probe(path: str, period_s: int) -> Manifest:
    asked = {"path": path, "port": "https", "scheme": "HTTPS"}
    return {"httpGet": asked, "periodSeconds": period_s, "failureThreshold": 3}


def _api() -> Manifest:
    # it serves with a certificate that it makes itself at every start, which nobody could verify: the release does so too
    spec = {
        "group": "metrics.k8s.io",
        "version": "v1beta1",
        "service": {"name": NAME, "namespace": NAMESPACE},
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    return _object("apiregistration.k8s.io/v1", "APIService", API, spec=spec)


def _object(
    api_version: str,
    kind: str,
    name: str,
    namespace: str | None = None,
    labels: dict[str, str] | None = None,
    **fields: Any,
) -> Manifest:
    where = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **where, "labels": {**_LABELS, **(labels or {})}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
