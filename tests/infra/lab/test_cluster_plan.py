"""The lab's nodes: they are where, what and as large as the program takes its nodes to be."""

import itertools
import re
from collections import Counter
from functools import cache
from urllib.parse import urlsplit

import pytest

from infra.addressing import address_plan
from infra.cluster.hybrid_network import COMPUTE_TYPE
from tests.kit.cloud import cloud_settings, whole
from tests.kit.schemas import manifests_of
from tests.lab.cluster import layout, plan
from tests.lab.cluster.plan import Node

MIB = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}
BESIDE = Counter(cpu=100, memory=128)  # CoreDNS, which stands on every node


@cache
def settings():
    return cloud_settings("lab")


@cache
def planned() -> plan.Plan:
    return plan.plan(settings())


def pods(manifest):
    """Pod specs of a manifest, with how many there are of each."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Deployment" | "StatefulSet":
            yield spec["template"]["spec"], spec["replicas"]
        case "Job":
            yield spec["template"]["spec"], 1
        case "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]["spec"], 1
        case "JobSet":
            for job in spec["replicatedJobs"]:
                yield job["template"]["spec"]["template"]["spec"], job.get("replicas", 1)


def all_pods():
    return [(manifest, *pod) for manifest in manifests_of(whole("lab")) for pod in pods(manifest)]


def takes(node: Node, pod) -> bool:
    """Whether the scheduler may put a pod on a node, as far as labels and taints go."""
    wanted = pod.get("nodeSelector", {})
    if any(node.labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    for term in affinity.get("nodeSelectorTerms", []):
        for rule in term["matchExpressions"]:
            inside = node.labels.get(rule["key"]) in rule["values"]
            if inside != (rule["operator"] == "In"):
                return False
    tolerated = {f"{each['key']}={each['value']}:{each['effect']}" for each in pod.get("tolerations", [])}
    return set(node.taints) <= tolerated


def amount(text: str, resource: str) -> float:
    """Millicores, MiB or devices."""
    number, unit = re.fullmatch(r"([\d.]+)([a-zA-Z]*)", text).groups()
    if resource == "cpu":
        return float(number) * (1 if unit == "m" else 1000)
    return float(number) * (MIB[unit] if resource == "memory" else 1)


def asked(pod) -> Counter:
    """Of a pod: its containers together, or the largest of those that come before."""
    of_all, largest = Counter(), Counter()
    for container in pod["containers"]:
        of_all.update(_requests(container))
    for container in pod.get("initContainers", []):
        largest |= _requests(container)
    return of_all | largest


def _requests(container) -> Counter:
    given = container.get("resources", {}).get("requests", {})
    return Counter({name: amount(str(value), name) for name, value in given.items()})


def test_every_pod_of_the_program_finds_a_node():
    for manifest, pod, _ in all_pods():
        assert any(takes(node, pod) for node in planned().nodes), manifest["metadata"]["name"]


def test_the_nodes_hold_all_that_the_program_asks_for_at_once():
    for node in planned().nodes:
        sum_of = Counter(BESIDE)
        for _, pod, count in all_pods():
            if takes(node, pod):
                for name, value in asked(pod).items():
                    sum_of[name] += value * count
        assert sum_of["cpu"] <= node.cpus * 1000, node.name
        assert sum_of["memory"] <= node.memory_gib * 1024, node.name
        assert sum_of["nvidia.com/gpu"] == node.gpus == 1, node.name


@pytest.mark.parametrize("name", layout.NODE_NAMES)
def test_a_trainer_runs_on_each_node(name):
    trainers = [pod for manifest, pod, _ in all_pods() if manifest["kind"] == "JobSet"]
    assert any(takes(planned().node(name), pod) for pod in trainers)


def test_only_openstacks_node_is_a_hybrid_one():
    key, value = COMPUTE_TYPE
    assert {node.name: node.labels.get(key) for node in planned().nodes} == {"aws-gpu-0": None, "os-gpu-0": value}


def test_addresses_are_of_the_ranges_that_the_program_plans_with():
    program = address_plan(settings())
    aws, openstack = planned().nodes
    assert aws.address.ip in program.aws.private[0]
    assert aws.pods.subnet_of(program.aws.private[0])
    assert openstack.address.ip in program.openstack.nodes
    assert openstack.address.ip >= program.openstack.dhcp[0]
    assert openstack.pods.subnet_of(program.openstack.pods)
    assert planned().pod_mtu == program.pod_mtu


def test_no_network_overlaps_another():
    known = [layout.BACKBONE, layout.WAN, planned().services, *(node.pods for node in planned().nodes)]
    for one, other in itertools.combinations(known, 2):
        assert not one.overlaps(other)
    assert all(planned().site_of(node).gateway.ip not in node.pods for node in planned().nodes)


def test_stores_are_passed_on_where_the_stack_says_they_are():
    (_, aws), (_, openstack) = settings().aws_site, settings().openstack_site
    for site, endpoint in (
        (planned().aws, aws.endpoints["s3"]),
        (planned().openstack, openstack.object_store.endpoint),
    ):
        parts = urlsplit(endpoint)
        assert (parts.hostname, parts.port) == (str(site.gateway.ip), site.store_port)


def test_a_name_that_no_node_has_is_told_with_those_that_are_there():
    with pytest.raises(LookupError, match="'gpu-7' is none of aws-gpu-0, os-gpu-0"):
        planned().node("gpu-7")
