"""Network policies: nothing goes in or out of the platform's namespaces but what is listed here. Pure.

A selector of pods is known to the CNI that the pods belong to. Cilium on hybrid nodes takes a pod of the VPC CNI for some
address outside, and drops what a selector allows; so what crosses the link is allowed by the other site's addresses as
well, for single ports, behind which mutual TLS tells who it really is.
https://docs.cilium.io/en/stable/security/policy/language/#ip-cidr-based
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from infra.cloud_contracts import NAMESPACES
from infra.mesh import ports
from infra.settings import Settings

Manifest = dict[str, Any]
Peers = list[Manifest]

TRAINING, SERVING, REGISTRY = NAMESPACES
INGRESS_NAMESPACE: Final = "istio-ingress"
MESH_NAMESPACE: Final = "istio-system"
MONITORING_NAMESPACE: Final = "monitoring"

_METADATA_SERVICE = "169.254.169.254/32"  # gives a node's credentials to whoever asks from it
# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
_POD_IDENTITY = "169.254.170.23/32"


@dataclass(frozen=True)
class Networks:
    """Addresses that policies name."""

    by_site: Mapping[str, str]  # a site's supernet
    services: str
    store_ports: tuple[int, ...]  # of object stores, HTTPS among them

    @classmethod
    def of(cls, settings: Settings) -> "Networks":
        """Those of a cloud stack."""
        (aws_site, aws), (openstack_site, openstack) = settings.aws_site, settings.openstack_site
        urls = (openstack.object_store.endpoint, *aws.endpoints.values())
        return cls(
            by_site={aws_site.name: str(aws.supernet), openstack_site.name: str(openstack.supernet)},
            services=str(settings.of_cloud.services),
            store_ports=tuple(sorted({443, *(_port(url) for url in urls)})),
        )

    def everywhere(self) -> Peers:
        """Both sites' nodes and pods, and services before they are resolved to pods."""
        return [_block(cidr) for cidr in (*self.by_site.values(), self.services)]

    def beyond(self, site: str) -> Peers:
        """The other sites."""
        return [_block(cidr) for name, cidr in self.by_site.items() if name != site]


def policies(networks: Networks) -> list[Manifest]:
    """Every policy of the platform's three namespaces."""
    return [
        *(policy for space in NAMESPACES for policy in _basics(space, networks, injected=space != TRAINING)),
        *_of_training(networks),
        *_of_serving(networks),
        *_of_registry(networks),
    ]


def ingress_policies(networks: Networks) -> list[Manifest]:
    """Those of the namespace of every site's gateway: the only pods that stand open to all."""
    gateway = {ports.APP_LABEL: "istio-ingress"}
    listening = _ports(443, ports.SIDECAR_HEALTH)
    onward = [_pods(SERVING, {ports.APP_LABEL: "inference"}), *networks.everywhere()]
    return [
        *_basics(INGRESS_NAMESPACE, networks, injected=True),
        _policy(INGRESS_NAMESPACE, "entry", gateway, ingress=[{"ports": listening}]),
        _policy(INGRESS_NAMESPACE, "to-inference", gateway, egress=[_to(onward, ports.INFERENCE)]),
    ]


def _basics(space: str, networks: Networks, *, injected: bool) -> list[Manifest]:
    """What every namespace has: nothing by default, then names, stores, identities, metrics and the mesh."""
    dns = [_pods("kube-system", {"k8s-app": "kube-dns"}), *networks.everywhere()]
    outside = {"ipBlock": {"cidr": "0.0.0.0/0", "except": [_METADATA_SERVICE]}}
    metrics = (*ports.SIDECAR_METRICS, ports.INFERENCE_HEALTH) if injected else (ports.TRAINER_METRICS,)
    scrapers = [{"namespaceSelector": _named(MONITORING_NAMESPACE)}]
    made = [
        _policy(space, "default-deny", {}, ingress=[], egress=[]),
        _policy(
            space,
            "names",
            {},
            egress=[{"to": dns, "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}],
        ),
        _policy(
            space,
            "stores",
            {},
            egress=[_to([outside], *networks.store_ports), _to([_block(_POD_IDENTITY)], 80)],
        ),
        *_by_site(space, "metrics", {}, networks, scrapers, *metrics),
    ]
    if injected:
        control = [{"namespaceSelector": _named(MESH_NAMESPACE)}, *networks.everywhere()]
        made.append(_policy(space, "mesh-control", {}, egress=[_to(control, ports.ISTIOD)]))
    return made


def _of_training(networks: Networks) -> list[Manifest]:
    """Trainers reach their peers: those of their own site on every port, as NCCL and Gloo pick theirs, others by exchange."""
    made = []
    trainer = {ports.APP_LABEL: "trainer"}
    exchange = [{"port": ports.EXCHANGE[0], "endPort": ports.EXCHANGE[1], "protocol": "TCP"}]
    for site in networks.by_site:
        here = {**trainer, ports.SITE_LABEL: site}
        near, far = [_pods(None, here)], [_pods(None, trainer), *networks.beyond(site)]
        made.append(
            _policy(
                TRAINING,
                f"peers-of-{site}",
                here,
                ingress=[{"from": near}, {"from": far, "ports": exchange}],
                egress=[{"to": near}, {"to": far, "ports": exchange}],
            )
        )
    registry = [_pods(REGISTRY, {ports.APP_LABEL: "registry"}), *networks.everywhere()]
    made.append(_policy(TRAINING, "to-registry", {}, egress=[_to(registry, ports.REGISTRY)]))
    return made


def _of_serving(networks: Networks) -> list[Manifest]:
    inference = {ports.APP_LABEL: "inference"}
    entry = [_pods(INGRESS_NAMESPACE, {ports.APP_LABEL: "istio-ingress"})]
    registry = [_pods(REGISTRY, {ports.APP_LABEL: "registry"}), *networks.everywhere()]
    return [
        *_by_site(SERVING, "from-entry", inference, networks, entry, ports.INFERENCE),
        _policy(SERVING, "to-registry", inference, egress=[_to(registry, ports.REGISTRY)]),
    ]


def _of_registry(networks: Networks) -> list[Manifest]:
    registry, database = {ports.APP_LABEL: "registry"}, {ports.APP_LABEL: "database"}
    clients = [_pods(TRAINING, {ports.APP_LABEL: "trainer"}), _pods(SERVING, {ports.APP_LABEL: "inference"})]
    return [
        *_by_site(REGISTRY, "clients", registry, networks, clients, ports.REGISTRY),
        # they stand side by side, so a selector is enough
        _policy(REGISTRY, "to-database", registry, egress=[_to([_pods(None, database)], ports.DATABASE)]),
        _policy(REGISTRY, "database", database, ingress=[_from([_pods(None, registry)], ports.DATABASE)]),
    ]


def _by_site(
    space: str, name: str, of: Mapping[str, str], networks: Networks, peers: Peers, *numbers: int
) -> list[Manifest]:
    """What `peers` may reach at any site: each site's pods let in the pods that match, and the other sites' addresses."""
    return [
        _policy(
            space,
            f"{name}-at-{site}",
            {**of, ports.SITE_LABEL: site},
            ingress=[_from([*peers, *networks.beyond(site)], *numbers)],
        )
        for site in networks.by_site
    ]


def _policy(
    space: str,
    name: str,
    of: Mapping[str, str],
    ingress: Sequence[Manifest] | None = None,
    egress: Sequence[Manifest] | None = None,
) -> Manifest:
    """A policy on the pods with labels `of`, in the directions that are given; an empty one denies."""
    directions = {"Ingress": ingress, "Egress": egress}
    spec: Manifest = {
        "podSelector": {"matchLabels": dict(of)} if of else {},
        "policyTypes": [direction for direction, rules in directions.items() if rules is not None],
    }
    for direction, rules in directions.items():
        if rules:
            spec[direction.lower()] = list(rules)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": spec,
    }


def _from(peers: Iterable[Manifest], *numbers: int) -> Manifest:
    return {"from": list(peers), "ports": _ports(*numbers)}


def _to(peers: Iterable[Manifest], *numbers: int) -> Manifest:
    return {"to": list(peers), "ports": _ports(*numbers)}


def _ports(*numbers: int) -> list[Manifest]:
    return [{"port": number, "protocol": "TCP"} for number in numbers]


def _pods(space: str | None, labels: Mapping[str, str]) -> Manifest:
    where = {} if space is None else {"namespaceSelector": _named(space)}
    return {**where, "podSelector": {"matchLabels": dict(labels)}}


def _named(space: str) -> Manifest:
    # Kubernetes puts this label on every namespace, and lets nobody change it
    return {"matchLabels": {"kubernetes.io/metadata.name": space}}


def _block(cidr: str) -> Manifest:
    return {"ipBlock": {"cidr": cidr}}


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]
