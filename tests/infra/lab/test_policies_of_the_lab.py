"""The lab stack's own policies, as both nodes enforce them: what may reach what, and nothing else."""

from functools import cache
from ipaddress import IPv4Address, IPv4Network

import pytest

from infra.addressing import address_plan
from infra.cloud_contracts import NAMESPACES
from infra.settings import Settings
from tests.kit.cloud import cloud_settings, whole
from tests.kit.schemas import manifests_of
from tests.lab.policies import objects, ruleset
from tests.lab.policies.fences import Fences, fences
from tests.lab.policies.objects import Pod, Snapshot

AWS, OPENSTACK = "aws-1", "os-1"
NAME, SITE = "app.kubernetes.io/name", "isthmus.dev/site"
OUTSIDE = "elsewhere"

SPACES = {
    "trainer": "isthmus-training",
    "inference": "isthmus-serving",
    "registry": "isthmus-registry",
    "database": "isthmus-registry",
    "istio-ingress": "istio-ingress",
    "stranger": "default",
    "kube-dns": "kube-system",
    "istiod": "istio-system",
    "prometheus": "monitoring",
}
PODS = {
    AWS: ["trainer", "trainer", "inference", "registry", "database", "istio-ingress", "stranger", "kube-dns", "istiod"],
    OPENSTACK: ["trainer", "trainer", "inference", "istio-ingress", "stranger", "kube-dns"],
}


@cache
def settings() -> Settings:
    return cloud_settings("lab")


@cache
def addresses() -> dict[str, IPv4Address]:
    """By name and site; a second pod of a name has `-2` behind it."""
    plan = address_plan(settings())
    found: dict[str, IPv4Address] = {}
    for site, network in ((AWS, plan.aws.private[0]), (OPENSTACK, plan.openstack.pods)):
        for index, name in enumerate(PODS[site]):
            found[f"{name}-2@{site}" if f"{name}@{site}" in found else f"{name}@{site}"] = network[index + 20]
    return {**found, f"prometheus@{AWS}": plan.aws.private[0][90]}


@cache
def snapshot() -> Snapshot:
    pods = []
    for key, address in addresses().items():
        name, site = key.removesuffix("-2").split("@")
        name = name.removesuffix("-2")
        labels = {NAME: name, SITE: site, **({"k8s-app": name} if name == "kube-dns" else {})}
        pods.append(Pod(SPACES[name], key, site, labels, (address,)))
    policies = [raw for raw in manifests_of(whole("lab")) if raw["kind"] == "NetworkPolicy"]
    return Snapshot(
        pods=tuple(pods),
        namespaces={space: {"kubernetes.io/metadata.name": space} for space in SPACES.values()},
        policies=tuple(map(objects.policy, policies)),
    )


@cache
def fenced(site: str, *, as_cilium: bool) -> Fences:
    managed = [address_plan(settings()).openstack.pods] if as_cilium and site == OPENSTACK else []
    return fences(snapshot(), site, managed)


def reaches(source: str, target: str, port: int, protocol: str = "TCP", *, as_cilium: bool) -> bool:
    """Whether a connection gets past both ends' fences."""
    start, end = (addresses().get(key) or IPv4Address(key) for key in (source, target))
    leaves, arrives = source.rpartition("@")[2], target.rpartition("@")[2]
    return (leaves not in PODS or fenced(leaves, as_cilium=as_cilium).egress.lets(start, end, port, protocol)) and (
        arrives not in PODS or fenced(arrives, as_cilium=as_cilium).ingress.lets(end, start, port, protocol)
    )


ACROSS = [(AWS, OPENSTACK), (OPENSTACK, AWS)]
EITHER = [AWS, OPENSTACK]
both = pytest.mark.parametrize("as_cilium", [False, True], ids=["by the API", "by Cilium"])


def test_all_of_them_are_read():
    names = [(policy.namespace, policy.name) for policy in snapshot().policies]
    assert len(set(names)) == len(names) >= 30
    assert {space for space, _ in names} == {*NAMESPACES, "istio-ingress"}


@both
@pytest.mark.parametrize("port", [7400, 7463])
@pytest.mark.parametrize(("here", "there"), ACROSS)
def test_trainers_exchange_across_the_link(here, there, port, as_cilium):
    assert reaches(f"trainer@{here}", f"trainer@{there}", port, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("port", [22, 7399, 7464, 9400, 29500])
@pytest.mark.parametrize(("here", "there"), ACROSS)
def test_trainers_do_nothing_else_across_the_link(here, there, port, as_cilium):
    assert not reaches(f"trainer@{here}", f"trainer@{there}", port, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("site", EITHER)
def test_trainers_of_a_site_reach_each_other_on_every_port(site, as_cilium):
    assert reaches(f"trainer@{site}", f"trainer-2@{site}", 31234, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("site", EITHER)
@pytest.mark.parametrize("name", ["stranger", "inference", "istio-ingress", "kube-dns"])
def test_nobody_else_of_its_site_reaches_a_trainer(name, site, as_cilium):
    assert not reaches(f"{name}@{site}", f"trainer@{site}", 7400, as_cilium=as_cilium)


@pytest.mark.parametrize("site", EITHER)
def test_a_trainers_exchange_is_open_to_the_other_sites_addresses_and_to_no_others(site):
    trainer = addresses()[f"trainer@{site}"]
    own = fenced(site, as_cilium=False).ingress
    near, far = (settings().aws_site[1].supernet, settings().openstack_site[1].supernet)[:: 1 if site == AWS else -1]
    open_to = {
        network
        for allowance in own.allowances
        if trainer in allowance.own and any(span.holds("TCP", 7400) for span in allowance.spans)
        for network in allowance.peers
    }
    trainers = {IPv4Network(pod.addresses[0]) for pod in snapshot().pods if pod.namespace == SPACES["trainer"]}
    assert far in open_to
    assert all(network == far or any(network.supernet_of(one) for one in trainers) for network in open_to)
    assert not own.lets(trainer, near[-2], 7400)
    assert not own.lets(trainer, IPv4Address("192.0.2.1"), 7400)


@both
@pytest.mark.parametrize("site", EITHER)
@pytest.mark.parametrize("name", ["trainer", "inference"])
def test_the_registry_has_its_clients_at_both_sites_and_its_database_to_itself(name, site, as_cilium):
    assert reaches(f"{name}@{site}", f"registry@{AWS}", 5000, as_cilium=as_cilium)
    assert not reaches(f"{name}@{site}", f"registry@{AWS}", 5432, as_cilium=as_cilium)
    assert not reaches(f"{name}@{site}", f"database@{AWS}", 5432, as_cilium=as_cilium)
    assert reaches(f"registry@{AWS}", f"database@{AWS}", 5432, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("site", EITHER)
def test_a_stranger_reaches_the_door_and_what_is_behind_it_not(site, as_cilium):
    assert reaches(f"stranger@{site}", f"istio-ingress@{site}", 443, as_cilium=as_cilium)
    assert not reaches(f"stranger@{site}", f"istio-ingress@{site}", 8080, as_cilium=as_cilium)
    assert not reaches(f"stranger@{site}", f"inference@{site}", 8080, as_cilium=as_cilium)
    assert not reaches(f"stranger@{site}", f"database@{AWS}", 5432, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("there", EITHER)
@pytest.mark.parametrize("here", EITHER)
def test_the_door_of_each_site_leads_to_the_replicas_of_both(here, there, as_cilium):
    assert reaches(f"istio-ingress@{here}", f"inference@{there}", 8080, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
@pytest.mark.parametrize(("here", "there"), [*ACROSS, (AWS, AWS), (OPENSTACK, OPENSTACK)])
@pytest.mark.parametrize("name", ["trainer", "inference", "istio-ingress"])
def test_names_are_asked_of_either_sites_server(name, here, there, protocol, as_cilium):
    assert reaches(f"{name}@{here}", f"kube-dns@{there}", 53, protocol, as_cilium=as_cilium)
    assert not reaches(f"{name}@{here}", f"kube-dns@{there}", 9153, protocol, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("site", EITHER)
def test_stores_and_identities_are_reached_and_the_nodes_credentials_are_not(site, as_cilium):
    for address, port, let in [
        ("10.10.0.1", 4566, True),
        ("10.20.0.1", 8080, True),
        ("192.0.2.1", 443, True),
        ("192.0.2.1", 80, False),
        ("169.254.170.23", 80, True),
        ("169.254.169.254", 80, False),
        ("169.254.169.254", 443, False),
    ]:
        assert reaches(f"trainer@{site}", address, port, as_cilium=as_cilium) is let, (address, port)


@both
@pytest.mark.parametrize("site", EITHER)
def test_who_is_in_the_mesh_reaches_its_control_plane(site, as_cilium):
    assert reaches(f"inference@{site}", f"istiod@{AWS}", 15012, as_cilium=as_cilium)
    assert not reaches(f"trainer@{site}", f"istiod@{AWS}", 15012, as_cilium=as_cilium)


@both
@pytest.mark.parametrize("site", EITHER)
def test_metrics_are_read_from_where_they_are_gathered(site, as_cilium):
    assert reaches(f"prometheus@{AWS}", f"trainer@{site}", 9400, as_cilium=as_cilium)
    assert not reaches(f"stranger@{AWS}", f"trainer@{AWS}", 9400, as_cilium=as_cilium)


@pytest.mark.parametrize("site", EITHER)
def test_a_nodes_ruleset_names_the_policies_of_its_pods(site):
    text = ruleset.ruleset(fenced(site, as_cilium=False))
    other = {AWS: OPENSTACK, OPENSTACK: AWS}[site]
    assert f'comment "isthmus-training/peers-of-{site}"' in text
    assert f"peers-of-{other}" not in text
