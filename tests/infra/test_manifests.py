"""Objects reach the cluster as they are written, labelled, and pods under the restricted standard."""

from typing import Any

import pulumi
import pytest

from infra.manifests import apply, labelled, labels, namespace, restricted
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import declare
from tests.kit.schemas import manifests_of, validate

POD: dict[str, Any] = {"containers": [{"name": "work", "image": "registry.example.org/work"}]}


def applied(manifest: dict[str, Any], **more: Any) -> Any:
    return declare(lambda scope: apply(fakes.inside(scope), "object", manifest, **more).urn).named("object")


def test_a_known_kind_becomes_a_typed_resource():
    made = applied(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "b", "namespace": "n"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
        }
    )
    assert made.type == "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"
    assert made.inputs["roleRef"]["name"] == "r"


def test_any_other_kind_becomes_a_custom_resource_with_all_its_fields():
    made = applied(
        {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "WorkloadPriorityClass", "metadata": {"name": "p"}, "value": 7}
    )
    assert made.type == "kubernetes:kueue.x-k8s.io/v1beta2:WorkloadPriorityClass"
    assert made.inputs["value"] == 7


def test_outputs_in_leaves_are_resolved_and_secrets_stay_secret():
    def body(scope: Any) -> Any:
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "n"},
            "stringData": {"key": pulumi.Output.secret("hidden")},
        }
        return apply(fakes.inside(scope), "object", manifest).urn

    made = declare(body).named("object")
    assert made.inputs["stringData"] == {"key": "hidden"}
    assert "stringData" in made.secrets


def test_what_another_writer_owns_is_ignored():
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {}}
    assert applied(manifest, ignore=["data"]).ignore_changes == ("data",)
    assert applied(manifest).ignore_changes == ()


def test_an_object_waits_for_what_it_is_told_to():
    def body(scope: Any) -> Any:
        inside = fakes.inside(scope)
        space = namespace(inside, "first")
        return apply(
            inside,
            "second",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "first"}},
            space,
        ).urn

    program = declare(body)
    assert program.named("first").urn in program.named("second").depends_on


def test_every_object_carries_the_platforms_labels_and_keeps_its_own():
    manifest = {"kind": "ConfigMap", "metadata": {"name": "c", "labels": {"app.kubernetes.io/name": "own", "x": "y"}}}
    assert labelled(manifest)["metadata"]["labels"] == {**labels("own"), "x": "y"}
    assert labelled({"metadata": {"name": "c"}})["metadata"]["labels"]["app.kubernetes.io/part-of"] == "isthmus"


def test_a_namespace_enforces_a_level_and_says_whether_it_is_injected():
    program = declare(lambda scope: namespace(fakes.inside(scope), "n", security="baseline", injected=True).urn)
    (made,) = manifests_of(program)
    validate(made)
    assert made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert made["metadata"]["labels"]["istio-injection"] == "enabled"


def test_a_restricted_pod_has_no_root_no_capability_and_no_writable_root():
    pod = restricted({**POD, "initContainers": POD["containers"]})
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert pod["automountServiceAccountToken"] is False
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod})


def test_what_a_pod_says_itself_stays():
    pod = restricted({**POD, "securityContext": {"runAsUser": 999}, "automountServiceAccountToken": True})
    assert pod["securityContext"]["runAsUser"] == 999
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"]
    assert POD == {"containers": [{"name": "work", "image": "registry.example.org/work"}]}


def container(**context: Any) -> dict[str, Any]:
    return {"containers": [{**POD["containers"][0], "securityContext": context}]}


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        ({**POD, "hostNetwork": True}, "hostNetwork"),
        ({**POD, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v: hostPath"),
        ({**POD, "securityContext": {"runAsUser": 0}}, "pod: root"),
        (container(runAsNonRoot=False), "container work: root"),
        (container(privileged=True), "container work: privilege"),
        (container(allowPrivilegeEscalation=True), "container work: privilege"),
        (container(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}), "NET_ADMIN"),
        (container(capabilities={"drop": ["NET_RAW"]}), "drop ALL"),
    ],
)
def test_what_the_standard_refuses_is_refused_before_the_cluster_does(pod, told):
    with pytest.raises(ValueError, match=told):
        restricted(pod)
