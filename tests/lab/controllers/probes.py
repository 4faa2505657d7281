"""Objects by which a controller shows that it answers: each goes through its webhook, and none of them stays. Pure."""

from dataclasses import dataclass
from typing import Any, Final

Manifest = dict[str, Any]

_NAME: Final = "isthmus-lab-probe"
_POD: Final = {"restartPolicy": "Never", "containers": [{"name": "none", "image": "localhost/none:1"}]}


@dataclass(frozen=True)
class Probe:
    """An object that the API server takes, in a dry run, only when the webhook has answered."""

    what: str
    manifest: Manifest
    expected: str  # in what comes back


def _object(api_version: str, kind: str, namespace: str | None, **fields: Any) -> Manifest:
    metadata = {"name": _NAME, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


PROBES: Final = (
    Probe(
        "cert-manager's webhook",
        _object("cert-manager.io/v1", "ClusterIssuer", None, spec={"selfSigned": {}}),
        _NAME,
    ),
    Probe(
        "JobSet's webhook",
        _object(
            "jobset.x-k8s.io/v1alpha2",
            "JobSet",
            "default",
            spec={"replicatedJobs": [{"name": "none", "template": {"spec": {"template": {"spec": _POD}}}}]},
        ),
        _NAME,
    ),
    Probe(
        "Kueue's webhook",
        _object("kueue.x-k8s.io/v1beta2", "ClusterQueue", None, spec={"namespaceSelector": {}}),
        _NAME,
    ),
    Probe(
        "Istio's validation",
        _object("security.istio.io/v1", "PeerAuthentication", "default", spec={"mtls": {"mode": "STRICT"}}),
        _NAME,
    ),
    Probe(
        "Istio's injection of sidecars",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _NAME, "namespace": "default", "labels": {"sidecar.istio.io/inject": "true"}},
            "spec": _POD,
        },
        '"istio-proxy"',
    ),
)
