"""Namespaces stand behind their fences, at the strictest level that their pods can have."""

from typing import Any

import pytest

from infra.cloud_contracts import NAMESPACES
from infra.mesh.namespaces import namespaces
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare
from tests.kit.schemas import manifests_of, validate_all

NAMESPACE = "kubernetes:core/v1:Namespace"


def declared(**changes: Any) -> CloudProgram:
    settings = cloud_settings(**changes)

    def body(scope: Any) -> Any:
        cluster = fakes.cluster(scope)
        inside = scope.component("Cluster", "inside", {"kubernetes": cluster.provider})
        return namespaces(inside, settings, cluster)

    return declare(body, settings)


def levels(program: CloudProgram) -> dict[str, str]:
    return {
        resource.name: resource.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for resource in program.of_type(NAMESPACE)
    }


def test_every_object_fits_the_schema():
    assert validate_all(manifests_of(declared())) > len(NAMESPACES)


def test_training_stays_out_of_the_mesh_and_the_others_are_in_it():
    injection = {
        resource.name: resource.inputs["metadata"]["labels"]["istio-injection"]
        for resource in declared().of_type(NAMESPACE)
    }
    assert injection == {
        "isthmus-training": "disabled",
        "isthmus-serving": "enabled",
        "isthmus-registry": "enabled",
    }


def test_all_are_restricted():
    assert set(levels(declared()).values()) == {"restricted"}


def test_a_mesh_without_its_plugin_loosens_what_it_injects_and_training_not():
    found = levels(declared(**{"cloud.cluster.mesh_init": True}))
    assert found == {
        "isthmus-training": "restricted",
        "isthmus-serving": "privileged",
        "isthmus-registry": "privileged",
    }


def test_fences_and_bounds_come_after_their_namespace_and_before_whoever_waits_for_the_contract():
    program = declared()
    for resource in program.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy"):
        space = program.named(resource.inputs["metadata"]["namespace"])
        assert space.urn in resource.depends_on
    ready = len(program.result.ready)
    assert ready == len([r for r in program.resources if r.type.startswith("kubernetes:")])


def quotas(program: CloudProgram) -> dict[str, dict[str, str]]:
    return {
        resource.inputs["metadata"]["namespace"]: resource.inputs["spec"]["hard"]
        for resource in program.of_type("kubernetes:core/v1:ResourceQuota")
    }


def test_no_namespace_opens_a_door_of_its_own():
    for hard in quotas(declared()).values():
        assert hard["services.loadbalancers"] == "0"
        assert hard["services.nodeports"] == "0"


@pytest.mark.parametrize(("gpus", "bound"), [(0, "0"), (2, "20")])
def test_gpus_of_serving_are_bounded_and_those_of_training_are_kueues(gpus, bound):
    found = quotas(declared(**{"cloud.serving.gpus": gpus}))
    assert found["isthmus-serving"]["requests.nvidia.com/gpu"] == bound  # (4 replicas + 1 that rolls) x 2 sites
    assert found["isthmus-registry"]["requests.nvidia.com/gpu"] == "0"
    assert "requests.nvidia.com/gpu" not in found["isthmus-training"]
