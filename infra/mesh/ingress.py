"""The way in, a door at each site: a gateway of Istio's proxies, as plain objects that istiod completes. Pure.

All doors serve one Gateway, with one certificate and the same tokens; what comes in at a site is answered there while the
site has a replica. https://istio.io/latest/docs/setup/additional-setup/gateway/#deploying-a-gateway
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.manifests import labels, restricted
from infra.mesh import ports
from infra.mesh.fencing import INGRESS_NAMESPACE
from infra.mesh.guarding import INGRESS_ACCOUNT
from infra.mesh.routing import API
from infra.releases import OFF_HYBRID_NODES
from infra.scheduling.rendering import GPU_TAINT
from infra.settings import Settings

Manifest = dict[str, Any]

NAME: Final = "istio-ingress"
GATEWAY: Final = "models"
TLS_SECRET: Final = "models-tls"  # noqa: S105 - the name of one
_PROXY_USER: Final = 1337  # Istio's own: https://istio.io/latest/docs/ops/deployment/application-requirements/
_SELECTOR: Final = {ports.APP_LABEL: NAME}  # of every door
_REPLICAS: Final = 2


@dataclass(frozen=True)
class Door:
    """The gateway of a site."""

    name: str  # of its objects
    site: str
    replicas: int
    balanced: bool  # whether a load balancer stands before it
    hybrid: bool  # whether it stands on hybrid nodes, where a node may have GPUs and the stack makes the load balancer

    @property
    def selector(self) -> dict[str, str]:
        """Labels of its proxies, which no other door's have."""
        return {**_SELECTOR, ports.SITE_LABEL: self.site}

    @property
    def host(self) -> str:
        """Its name inside the cluster."""
        return f"{self.name}.{INGRESS_NAMESPACE}.svc"


def doors(settings: Settings) -> tuple[Door, ...]:
    """AWS's first, then OpenStack's if the site has nodes."""
    (site, _), (other, project) = settings.aws_site, settings.openstack_site
    here = Door(NAME, site.name, _REPLICAS, settings.of_cloud.serving.load_balancer, hybrid=False)
    if not project.servers:
        return (here,)
    replicas = min(_REPLICAS, project.servers)
    return here, Door(f"{NAME}-{other.name}", other.name, replicas, project.has_balancer, hybrid=True)


def account() -> Manifest:
    """Who all proxies are: the mesh's rules are about the way in, and not about one door of it."""
    return {**_object("v1", "ServiceAccount", NAME), "automountServiceAccountToken": False}


def deployment(door: Door) -> Manifest:
    """Proxies of a site, in different zones and on different nodes if there are. istiod fills in image and arguments."""
    spread = {"labelSelector": {"matchLabels": door.selector}, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
    pod = {
        "serviceAccountName": INGRESS_ACCOUNT,
        "securityContext": {
            "runAsUser": _PROXY_USER,
            "runAsGroup": _PROXY_USER,
            "fsGroup": _PROXY_USER,
            # lets a user without privilege listen on 443; a safe sysctl to every Pod Security level
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        },
        **_placing(door),
        "topologySpreadConstraints": [
            {**spread, "topologyKey": "topology.kubernetes.io/zone"},
            {**spread, "topologyKey": "kubernetes.io/hostname"},
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
            "labels": {**labels(NAME), **door.selector, "istio": "ingress", "sidecar.istio.io/inject": "true"},
            "annotations": {"inject.istio.io/templates": "gateway"},
        },
        "spec": restricted(pod),
    }
    spec = {
        "replicas": door.replicas,
        "selector": {"matchLabels": door.selector},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    return {**_of(door, "apps/v1", "Deployment"), "spec": spec}


def disruption_budget(door: Door) -> Manifest:
    """One proxy at a time; where there is one alone it may go, or its node could never be emptied."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": door.selector}}
    return {**_of(door, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def service(door: Door, tags: Mapping[str, str], *, tokens: bool) -> Manifest:
    """The gateway's address, behind a load balancer of its cloud if there is one.

    AWS's is made by the cloud's own controller, after annotations, and faces the internet only where `tokens` are asked
    for: https://docs.aws.amazon.com/eks/latest/userguide/network-load-balancing.html. OpenStack's is the stack's own
    (`infra.network.balancing`), and finds the proxies at one port of their nodes.
    """
    whole = _of(door, "v1", "Service")
    # nothing but TLS: not even the redirect from plain HTTP, whose first request would carry its token in the clear
    port = {"name": "https", "port": ports.DOOR, "targetPort": ports.DOOR}
    spec: Manifest = {"type": "ClusterIP", "selector": door.selector, "ports": [port]}
    if not door.balanced:
        return {**whole, "spec": spec}
    if door.hybrid:
        at_node = {"type": "NodePort", "ports": [{**port, "nodePort": ports.DOOR_NODE}]}
        # a node without a proxy answers nobody, so the load balancer leaves it out
        return {**whole, "spec": {**spec, **at_node, "externalTrafficPolicy": "Local"}}
    prefix = "service.beta.kubernetes.io/aws-load-balancer"
    whole["metadata"].setdefault("annotations", {}).update(
        {
            f"{prefix}-type": "nlb",
            f"{prefix}-internal": "false" if tokens else "true",
            f"{prefix}-cross-zone-load-balancing-enabled": "true",
            f"{prefix}-additional-resource-tags": ",".join(f"{key}={value}" for key, value in sorted(tags.items())),
        }
    )
    # keeps the caller's address for the access log, and spares a hop
    return {**whole, "spec": {**spec, "type": "LoadBalancer", "externalTrafficPolicy": "Local"}}


def given_name(status: Any, otherwise: str) -> str:
    """The name or address that a load balancer has given a Service, by the Service's status; `otherwise` without one."""
    given = getattr(getattr(status, "load_balancer", None), "ingress", None) or ()
    return next((str(each.hostname or each.ip) for each in given if each.hostname or each.ip), otherwise)


def gateway(host: str) -> Manifest:
    """TLS for the host, and nothing else, at every door."""
    spec = {
        "selector": _SELECTOR,
        "servers": [
            {
                "port": {"number": ports.DOOR, "name": "https", "protocol": "HTTPS"},
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


def _placing(door: Door) -> Manifest:
    """Near the control plane, or on the nodes of the site, which may all have GPUs."""
    if not door.hybrid:
        return {"affinity": dict(OFF_HYBRID_NODES)}
    return {"nodeSelector": {ports.SITE_LABEL: door.site}, "tolerations": [{**GPU_TAINT, "operator": "Equal"}]}


def _of(door: Door, api_version: str, kind: str) -> Manifest:
    made = _object(api_version, kind, door.name)
    made["metadata"]["labels"][ports.SITE_LABEL] = door.site
    if door.hybrid:
        # its nodes join when they have come up, and may be away with the link: bringing the stack up waits for neither
        made["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
    return made


def _object(api_version: str, kind: str, name: str) -> Manifest:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": INGRESS_NAMESPACE, "labels": labels(NAME)},
    }
