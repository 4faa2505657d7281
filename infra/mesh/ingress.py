"""The one way in: a gateway of Istio's proxies, as plain objects that istiod completes. Pure.

https://istio.io/latest/docs/setup/additional-setup/gateway/#deploying-a-gateway
"""

from collections.abc import Mapping
from typing import Any, Final

from infra.cloud_settings import ServingSettings
from infra.manifests import labels, restricted
from infra.mesh import ports
from infra.mesh.fencing import INGRESS_NAMESPACE
from infra.mesh.guarding import INGRESS_ACCOUNT
from infra.mesh.routing import API
from infra.releases import OFF_HYBRID_NODES

Manifest = dict[str, Any]

NAME: Final = "istio-ingress"
GATEWAY: Final = "models"
TLS_SECRET: Final = "models-tls"  # noqa: S105 - the name of one
_PROXY_USER: Final = 1337  # Istio's own: https://istio.io/latest/docs/ops/deployment/application-requirements/
_SELECTOR: Final = {ports.APP_LABEL: NAME}


def account() -> Manifest:
    return {**_object("v1", "ServiceAccount"), "automountServiceAccountToken": False}


def deployment(site: str) -> Manifest:
    """Two proxies at the site of the load balancer, in different zones if there are. istiod fills in image and arguments."""
    pod = {
        "serviceAccountName": INGRESS_ACCOUNT,
        "securityContext": {
            "runAsUser": _PROXY_USER,
            "runAsGroup": _PROXY_USER,
            "fsGroup": _PROXY_USER,
            # lets a user without privilege listen on 443; a safe sysctl to every Pod Security level
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        },
        "affinity": dict(OFF_HYBRID_NODES),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _SELECTOR},
            }
        ],
        "containers": [
            {
                "name": "istio-proxy",
                "image": "auto",  # istiod's own version, when it injects
                # for a name without a tag the API server would say Always: no proxy could start while the registry is away
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"name": "http-envoy-prom", "containerPort": ports.SIDECAR_METRICS[1], "protocol": "TCP"}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "1Gi"},
                },
            }
        ],
    }
    template = {
        "metadata": {
            "labels": {**labels(NAME), "istio": "ingress", ports.SITE_LABEL: site, "sidecar.istio.io/inject": "true"},
            "annotations": {"inject.istio.io/templates": "gateway"},
        },
        "spec": restricted(pod),
    }
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": _SELECTOR},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    return {**_object("apps/v1", "Deployment"), "spec": spec}


def disruption_budget() -> Manifest:
    spec = {"minAvailable": 1, "selector": {"matchLabels": _SELECTOR}}
    return {**_object("policy/v1", "PodDisruptionBudget"), "spec": spec}


def service(serving: ServingSettings, tags: Mapping[str, str]) -> Manifest:
    """The gateway's address: of a network load balancer, which faces the internet only where tokens are asked for.

    Annotations are those of the cloud's own controller: https://docs.aws.amazon.com/eks/latest/userguide/network-load-balancing.html
    """
    whole = _object("v1", "Service")
    spec: Manifest = {
        "type": "ClusterIP",
        "selector": _SELECTOR,
        # nothing but TLS: not even the redirect from plain HTTP, whose first request would carry its token in the clear
        "ports": [{"name": "https", "port": 443, "targetPort": 443}],
    }
    if not serving.load_balancer:
        return {**whole, "spec": spec}
    prefix = "service.beta.kubernetes.io/aws-load-balancer"
    annotations = {
        f"{prefix}-type": "nlb",
        f"{prefix}-internal": "false" if serving.access is not None else "true",
        f"{prefix}-cross-zone-load-balancing-enabled": "true",
        f"{prefix}-additional-resource-tags": ",".join(f"{key}={value}" for key, value in sorted(tags.items())),
    }
    whole["metadata"]["annotations"] = annotations
    # keeps the caller's address for the access log, and spares a hop
    return {**whole, "spec": {**spec, "type": "LoadBalancer", "externalTrafficPolicy": "Local"}}


def gateway(host: str) -> Manifest:
    """TLS for the host, and nothing else."""
    spec = {
        "selector": _SELECTOR,
        "servers": [
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                "hosts": [host],
                "tls": {"mode": "SIMPLE", "credentialName": TLS_SECRET, "minProtocolVersion": "TLSV1_2"},
            },
        ],
    }
    return {
        "apiVersion": API,
        "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": INGRESS_NAMESPACE},
        "spec": spec,
    }


def _object(api_version: str, kind: str) -> Manifest:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": NAME, "namespace": INGRESS_NAMESPACE, "labels": labels(NAME)},
    }
