"""One queue for runs over all sites, one a site for what is idle; both fit Kueue's schemas and its rules."""

from typing import Any

import pytest
import yaml

from infra.scheduling.configuration import kueue_values
from infra.scheduling.queues import queues
from infra.scheduling.rendering import PRIORITIES
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare
from tests.kit.schemas import manifests_of, validate_all

KUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:"
FIXED = {"sites.0.aws.gpu_pools.0.nodes": {"min": 1, "desired": 1, "max": 1}}


def declared(pools: Any = None, **changes: Any) -> CloudProgram:
    settings = cloud_settings(**changes)
    return declare(
        lambda scope: queues(
            fakes.inside(scope), settings, pools or fakes.pools(), fakes.controllers(), fakes.namespaces()
        ),
        settings,
    )


def queue(program: CloudProgram, name: str) -> dict[str, Any]:
    (found,) = (
        resource.inputs["spec"]
        for resource in program.of_type(f"{KUEUE}ClusterQueue")
        if resource.inputs["metadata"]["name"] == name
    )
    return found


def gpus(spec: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By flavor, the GPU line of a queue."""
    (group,) = spec["resourceGroups"]
    return {
        flavor["name"]: next(line for line in flavor["resources"] if line["name"] == "nvidia.com/gpu")
        for flavor in group["flavors"]
    }


def test_every_object_fits_the_pinned_schema():
    assert validate_all(manifests_of(declared([fakes.pool(efa=1), fakes.pool("os-1")], **FIXED))) == 13


def test_the_training_queue_owns_the_flavors_of_both_sites():
    program = declared()
    assert {name: line["nominalQuota"] for name, line in gpus(queue(program, "isthmus-training")).items()} == {
        "aws-1-l4": "1",
        "os-1-l4": "1",
    }


def test_a_flavor_is_known_by_site_and_pool_and_its_pods_tolerate_the_taint():
    flavor = declared().of_type(f"{KUEUE}ResourceFlavor")[0].inputs["spec"]
    assert flavor["nodeLabels"] == {"isthmus.dev/site": "aws-1", "isthmus.dev/pool": "l4"}
    (taint,), (toleration,) = flavor["nodeTaints"], flavor["tolerations"]
    assert taint == {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    assert toleration == {**taint, "operator": "Equal"}


def test_all_limits_are_explicit_and_within_kueues_rules():
    program = declared(**{"cloud.queues": {"borrow": 0.5, "lend": 0.5}})
    for resource in program.of_type(f"{KUEUE}ClusterQueue"):
        spec = resource.inputs["spec"]
        assert spec["cohortName"] == "isthmus"  # without it borrowingLimit is refused
        (group,) = spec["resourceGroups"]
        for flavor in group["flavors"]:
            # every flavor lists every covered resource, in their order
            assert [line["name"] for line in flavor["resources"]] == group["coveredResources"]
            assert all(
                {"borrowingLimit", "lendingLimit", "nominalQuota"} <= line.keys() for line in flavor["resources"]
            )
        assert "borrowWithinCohort" not in spec["preemption"]  # not with fair sharing


def test_a_site_borrows_of_its_own_what_training_lends():
    pools = [fakes.pool(nodes=4, gpus=2), fakes.pool("os-1", nodes=4, gpus=1)]
    program = declared(pools, **{"cloud.queues": {"borrow": 0.0, "lend": 0.5}})
    assert gpus(queue(program, "isthmus-training"))["aws-1-l4"]["lendingLimit"] == "4"
    assert gpus(queue(program, "isthmus-aws-1")) == {
        "aws-1-l4": {"name": "nvidia.com/gpu", "nominalQuota": "0", "borrowingLimit": "4", "lendingLimit": "0"}
    }


def test_a_site_borrows_of_the_other_site_as_far_as_it_may():
    pools = [fakes.pool(nodes=4, gpus=2), fakes.pool("os-1", nodes=4, gpus=1)]
    program = declared(pools, **{"cloud.queues": {"borrow": 0.25, "lend": 1.0}})
    of_aws = gpus(queue(program, "isthmus-aws-1"))
    assert list(of_aws) == ["aws-1-l4", "os-1-l4"]  # its own first
    assert of_aws["os-1-l4"]["borrowingLimit"] == "1"


def test_a_site_queue_without_anything_to_borrow_has_no_flavors():
    program = declared(**{"cloud.queues": {"borrow": 0.0, "lend": 0.0}})
    assert queue(program, "isthmus-os-1")["resourceGroups"] == []
    assert validate_all(manifests_of(program)) > 0


def test_training_takes_back_what_it_lent_and_sites_do_not():
    program = declared()
    assert queue(program, "isthmus-training")["preemption"]["reclaimWithinCohort"] == "Any"
    assert queue(program, "isthmus-aws-1")["preemption"]["reclaimWithinCohort"] == "Never"


@pytest.mark.parametrize(("changes", "aware"), [(FIXED, True), ({}, False)])
def test_placement_by_topology_is_on_where_all_nodes_stand(changes, aware):
    program = declared(**changes)
    flavors = [resource.inputs["spec"] for resource in program.of_type(f"{KUEUE}ResourceFlavor")]
    # all or none: of a queue with both kinds, pods without an annotation would get neither
    assert [("topologyName" in flavor) for flavor in flavors] == [aware, aware]
    zone = "topology.kubernetes.io/zone"
    assert program.result.topology == ({"aws-1": zone, "os-1": zone} if aware else {})
    levels = program.one(f"{KUEUE}Topology").inputs["spec"]["levels"]
    assert [level["nodeLabel"] for level in levels] == [zone, "kubernetes.io/hostname"]


def test_the_contract_names_what_was_declared():
    program = declared()
    result = program.result
    local = {resource.inputs["metadata"]["name"]: resource for resource in program.of_type(f"{KUEUE}LocalQueue")}
    assert local[result.local_queue].inputs["spec"]["clusterQueue"] == "isthmus-training"
    assert local[result.local_queue].inputs["metadata"]["namespace"] == result.namespace
    assert set(local) == {"training", "aws-1", "os-1"}
    flavors = {resource.inputs["metadata"]["name"] for resource in program.of_type(f"{KUEUE}ResourceFlavor")}
    assert set(result.flavors.values()) == flavors
    priorities = {resource.inputs["metadata"]["name"] for resource in program.of_type(f"{KUEUE}WorkloadPriorityClass")}
    assert set(result.priority_classes.values()) == priorities


def test_serving_goes_before_training_and_training_before_what_is_interactive():
    assert PRIORITIES["serving"][0] > PRIORITIES["training"][0] > PRIORITIES["interactive"][0]


def test_a_queue_comes_after_its_flavors_and_a_way_in_after_its_queue():
    program = declared()
    flavors = {resource.urn for resource in program.of_type(f"{KUEUE}ResourceFlavor")}
    for resource in program.of_type(f"{KUEUE}ClusterQueue"):
        assert flavors <= set(resource.depends_on)
    training = program.named("training-cluster-queue")
    assert training.urn in program.named("training-local-queue").depends_on


def test_kueue_knows_jobsets_shares_fairly_and_counts_only_what_the_queues_do():
    values = kueue_values({"isthmus.dev/role": "system"})
    assert values["controllerManager"]["nodeSelector"] == {"isthmus.dev/role": "system"}
    configuration = yaml.safe_load(values["managerConfig"]["controllerManagerConfigYaml"])
    assert "jobset.x-k8s.io/jobset" in configuration["integrations"]["frameworks"]
    assert "hugepages-" in configuration["resources"]["excludeResourcePrefixes"]
    assert configuration["fairSharing"]["preemptionStrategies"]
