"""Who reaches whom, judged as the two CNIs judge: a selector knows the pods of its own side alone."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from infra.cloud_contracts import NAMESPACES
from infra.mesh import ports
from infra.mesh.fencing import Networks, ingress_policies, policies
from tests.kit.cloud import cloud_settings
from tests.kit.schemas import validate_all

NETWORKS = Networks.of(cloud_settings())
POLICIES = [*policies(NETWORKS), *ingress_policies(NETWORKS)]
SITES = {"aws-1": "10.0.64.9", "os-1": "10.64.128.9"}


@dataclass(frozen=True)
class Pod:
    """A pod, or with no namespace an address outside."""

    namespace: str
    app: str
    site: str
    address: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def ip(self) -> str:
        return self.address or SITES[self.site]

    @property
    def all_labels(self) -> dict[str, str]:
        return {ports.APP_LABEL: self.app, ports.SITE_LABEL: self.site, **self.labels}


def trainer(site: str) -> Pod:
    return Pod("isthmus-training", "trainer", site)


def inference(site: str) -> Pod:
    return Pod("isthmus-serving", "inference", site)


REGISTRY = Pod("isthmus-registry", "registry", "aws-1")
DATABASE = Pod("isthmus-registry", "database", "aws-1")
DOOR = Pod("istio-ingress", "istio-ingress", "aws-1")
ISTIOD = Pod("istio-system", "istiod", "aws-1")
PROMETHEUS = Pod("monitoring", "prometheus", "aws-1")
NAMES = Pod("kube-system", "coredns", "aws-1", labels={"k8s-app": "kube-dns"})
STRANGER = Pod("default", "stranger", "aws-1")
INTERNET = Pod("", "", "", "198.51.100.7")
METADATA = Pod("", "", "", "169.254.169.254")
IDENTITY = Pod("", "", "", "169.254.170.23")


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def is_peer(peer: dict[str, Any], other: Pod, own: Pod) -> bool:
    if block := peer.get("ipBlock"):
        inside = ip_address(other.ip) in ip_network(block["cidr"])
        return inside and not any(ip_address(other.ip) in ip_network(cidr) for cidr in block.get("except", ()))
    if not other.namespace or other.site != own.site:
        return False  # the other side's pods are addresses to this side's CNI
    space = {"kubernetes.io/metadata.name": other.namespace}
    of_space = (
        matches(peer["namespaceSelector"], space) if "namespaceSelector" in peer else own.namespace == other.namespace
    )
    return of_space and matches(peer.get("podSelector", {}), other.all_labels)


def is_port(rule: dict[str, Any], port: int, protocol: str) -> bool:
    if "ports" not in rule:
        return True
    return any(
        each["port"] <= port <= each.get("endPort", each["port"]) and each["protocol"] == protocol
        for each in rule["ports"]
    )


def lets(direction: str, own: Pod, other: Pod, port: int, protocol: str) -> bool:
    """Whether the policies on `own` let it talk with `other`; a pod that none is about is open."""
    if not own.namespace:
        return True
    about = [
        policy["spec"]
        for policy in POLICIES
        if policy["metadata"]["namespace"] == own.namespace
        and matches(policy["spec"]["podSelector"], own.all_labels)
        and direction in policy["spec"]["policyTypes"]
    ]
    side = "from" if direction == "Ingress" else "to"
    rules = [rule for spec in about for rule in spec.get(direction.lower(), ())]
    return not about or any(
        is_port(rule, port, protocol) and (side not in rule or any(is_peer(peer, other, own) for peer in rule[side]))
        for rule in rules
    )


def reaches(caller: Pod, called: Pod, port: int, protocol: str = "TCP") -> bool:
    return lets("Egress", caller, called, port, protocol) and lets("Ingress", called, caller, port, protocol)


def test_every_policy_fits_the_schema():
    assert validate_all(POLICIES) == len(POLICIES)


@pytest.mark.parametrize("space", [*NAMESPACES, "istio-ingress"])
def test_every_namespace_denies_both_directions_by_default(space):
    (default,) = (
        policy["spec"] for policy in POLICIES if policy["metadata"] == {"name": "default-deny", "namespace": space}
    )
    assert default == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(("here", "there"), [("aws-1", "os-1"), ("os-1", "aws-1")])
def test_trainers_exchange_across_the_link_on_their_ports_alone(here, there):
    assert reaches(trainer(here), trainer(there), ports.EXCHANGE[0])
    assert reaches(trainer(here), trainer(there), ports.EXCHANGE[1])
    assert not reaches(trainer(here), trainer(there), ports.EXCHANGE[1] + 1)
    assert not reaches(trainer(here), trainer(there), ports.RENDEZVOUS)


@pytest.mark.parametrize("site", SITES)
def test_workers_of_a_site_talk_on_any_port(site):
    for port in (ports.RENDEZVOUS, ports.EXCHANGE[0], 43211):
        assert reaches(trainer(site), trainer(site), port)


@pytest.mark.parametrize("caller", [STRANGER, DOOR, inference("aws-1"), REGISTRY, INTERNET])
def test_nobody_else_reaches_a_trainer(caller):
    for port in (ports.RENDEZVOUS, ports.EXCHANGE[0], 22):
        assert not reaches(caller, trainer("aws-1"), port)


@pytest.mark.parametrize("site", SITES)
def test_the_gateway_reaches_replicas_at_both_sites_and_nobody_else_does(site):
    assert reaches(DOOR, inference(site), ports.INFERENCE)
    for caller in (trainer(site), REGISTRY, INTERNET):
        assert not reaches(caller, inference(site), ports.INFERENCE)
    assert not reaches(STRANGER, inference("aws-1"), ports.INFERENCE)


@pytest.mark.parametrize("site", SITES)
def test_trainers_and_replicas_reach_the_registry(site):
    assert reaches(trainer(site), REGISTRY, ports.REGISTRY)
    assert reaches(inference(site), REGISTRY, ports.REGISTRY)
    assert not reaches(STRANGER, REGISTRY, ports.REGISTRY)


def test_the_registry_alone_reaches_its_database():
    assert reaches(REGISTRY, DATABASE, ports.DATABASE)
    for caller in (trainer("aws-1"), inference("aws-1"), STRANGER):
        assert not reaches(caller, DATABASE, ports.DATABASE)


@pytest.mark.parametrize("pod", [trainer("os-1"), inference("os-1"), REGISTRY, DOOR])
def test_everybody_has_names_stores_and_an_identity_and_nobody_the_nodes_credentials(pod):
    assert reaches(pod, NAMES, 53, "UDP")
    assert reaches(pod, NAMES, 53)
    assert reaches(pod, INTERNET, 443)
    assert not reaches(pod, INTERNET, 80)
    assert not reaches(pod, INTERNET, 22)
    assert reaches(pod, IDENTITY, 80)
    assert not reaches(pod, METADATA, 443)
    assert not reaches(pod, METADATA, 80)


def test_a_store_on_another_port_is_reached_there():
    settings = cloud_settings(**{"sites.1.openstack.object_store.endpoint": "http://swift.example.org:8080/v1"})
    assert Networks.of(settings).store_ports == (443, 8080)


@pytest.mark.parametrize("site", SITES)
def test_pods_of_the_mesh_reach_its_control_plane_and_trainers_do_not(site):
    assert reaches(inference(site), ISTIOD, ports.ISTIOD)
    assert not reaches(trainer(site), ISTIOD, ports.ISTIOD)


@pytest.mark.parametrize("site", SITES)
def test_prometheus_reads_metrics_at_both_sites(site):
    assert reaches(PROMETHEUS, trainer(site), ports.TRAINER_METRICS)
    assert reaches(PROMETHEUS, inference(site), ports.INFERENCE_HEALTH)
    assert reaches(PROMETHEUS, inference(site), ports.SIDECAR_METRICS[0])
    assert not reaches(STRANGER, trainer("aws-1"), ports.TRAINER_METRICS)


def test_the_gateway_is_open_to_all_on_its_door_and_no_other():
    assert reaches(INTERNET, DOOR, 443)
    assert not reaches(INTERNET, DOOR, 80)
    assert not reaches(INTERNET, DOOR, 15000)
