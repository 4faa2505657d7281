"""The lab's Kubernetes stand-in, its pure parts: what it compares and what it replaces."""

import base64

import pytest

from tests.lab.providers.kubernetes import comparing, immutable, objects, paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.replicas", ("spec", "replicas")),
        ('metadata.annotations["a.b/c"]', ("metadata", "annotations", "a.b/c")),
        ("spec.ports[0].name", ("spec", "ports", 0, "name")),
        ("spec.ports[*]", ("spec", "ports", "*")),
    ],
)
def test_a_property_path_is_read_as_pulumi_writes_it(text, path):
    assert paths.parse(text) == path


def test_what_is_left_to_others_is_out_of_the_comparison():
    old = {"spec": {"replicas": 1, "ports": [{"a": 1, "b": 2}]}}
    new = {"spec": {"replicas": 3, "ports": [{"a": 9, "b": 2}]}}
    ignored = [("spec", "replicas"), ("spec", "ports", "*", "a")]
    assert paths.differences(old, new) == [("spec", "ports", 0, "a"), ("spec", "replicas")]
    assert paths.differences(paths.without(old, ignored), paths.without(new, ignored)) == []


def test_a_truth_is_no_number():
    assert paths.differences({"a": 1}, {"a": True}) == [("a",)]


@pytest.mark.parametrize(
    "field",
    [
        ".spec.replicas",
        ".metadata.labels.app.kubernetes.io/name",
        '.spec.containers[name="b"].image',
        '.spec.ports[containerPort=80,protocol="TCP"].name',
        '.metadata.finalizers[="a/b"]',
    ],
)
def test_a_field_in_the_server_s_words_is_found_in_the_inputs(field):
    declared = {
        "metadata": {"labels": {"app.kubernetes.io/name": "a"}, "finalizers": ["a/b"]},
        "spec": {
            "replicas": 1,
            "containers": [{"name": "a"}, {"name": "b", "image": "c"}],
            "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}],
        },
    }
    assert paths.declares(declared, field)


@pytest.mark.parametrize("field", [".spec.replica", '.spec.containers[name="a"].image', ".metadata.labels.app"])
def test_a_field_that_is_not_in_the_inputs_is_not_found(field):
    declared = {
        "metadata": {"labels": {"app.kubernetes.io/name": "a"}},
        "spec": {"replicas": 1, "containers": [{"name": "a"}]},
    }
    assert not paths.declares(declared, field)


def test_defaults_and_normal_forms_are_no_drift_and_what_somebody_changed_is():
    declared = {"spec": {"cpu": "0.5", "color": "red", "gone": 1, "items": [{"name": "b", "v": 1}]}}
    tried = {"spec": {"cpu": "500m", "color": "red", "gone": 1, "items": [{"name": "b", "v": 1, "d": 0}], "more": 1}}
    live = {
        "spec": {"cpu": "500m", "color": "blue", "items": [{"name": "a"}, {"name": "b", "v": 2, "d": 0}], "more": 1},
        "status": {},
    }
    assert comparing.found(declared, live, tried) == {
        "spec": {"cpu": "0.5", "color": "blue", "items": [{"name": "b", "v": 2}]}
    }
    assert comparing.found(declared, tried, tried) == declared


def test_a_list_that_has_other_items_by_now_is_told_as_it_is():
    assert comparing.found({"args": ["a"]}, {"args": ["a", "b"]}, {"args": ["a"]}) == {"args": ["a", "b"]}


def live_with(manager, spec):
    fields = {"f:spec": {f"f:{key}": {} for key in spec}}
    return {"metadata": {"managedFields": [{"manager": manager, "fieldsV1": fields}]}, "spec": spec}


def test_a_field_left_to_another_writer_is_not_sent_once_it_is_theirs_and_sent_as_it_is_while_it_is_ours():
    body, ignored = {"spec": {"replicas": 1, "other": 2}}, [("spec", "replicas")]
    theirs, ours = live_with("autoscaler", {"replicas": 5}), live_with(comparing.MANAGER, {"replicas": 5})
    assert comparing.left_to_others(body, theirs, ignored) == {"spec": {"other": 2}}
    assert comparing.left_to_others(body, ours, ignored) == {"spec": {"replicas": 5, "other": 2}}
    assert comparing.left_to_others(body, None, ignored) == body


def test_a_secret_is_sent_as_data_and_kept_as_secret():
    declared = {"kind": "Secret", "stringData": {"a": "text"}, "metadata": {"name": "s", "labels": None}}
    encoded = base64.b64encode(b"text").decode()
    sent = objects.sent(declared)
    assert sent == {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": encoded}}
    assert objects.as_declared(sent, declared)["stringData"] == {"a": "text"}
    kept = objects.kept(sent)
    assert kept["data"]["value"] == {"a": encoded}
    assert len(kept["data"]) == 2


def test_an_object_without_a_name_gets_one_that_it_keeps():
    new = {"kind": "ConfigMap", "metadata": {"labels": {"a": "b"}}}
    first = objects.named(new, {}, "specs", "0123456789")
    assert first["metadata"]["name"] == "specs-01234567"
    assert objects.named(new, first, "specs", "ffffffffff") == first
    assert objects.named({"metadata": {"name": "mine"}}, first, "specs", "0") == {"metadata": {"name": "mine"}}


@pytest.mark.parametrize(
    ("token", "identity", "version"),
    [
        ("kubernetes:core/v1:ConfigMap", "ns/a", "v1"),
        ("kubernetes:apps/v1:Deployment", "ns/a", "apps/v1"),
        ("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", "a", "rbac.authorization.k8s.io/v1"),
    ],
)
def test_a_type_and_an_id_name_an_object(token, identity, version):
    found = objects.reference_of(token, identity)
    assert (found.api_version, found.identity) == (version, identity)


JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "n"}}
SPECS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


@pytest.mark.parametrize(
    ("changed", "new", "mutable", "replaced"),
    [
        (("spec", "template", "spec", "x"), JOB, frozenset(), True),
        (("spec", "backoffLimit"), JOB, frozenset(), False),
        (("metadata", "name"), JOB, frozenset(), True),
        (("data", "a"), SPECS, frozenset(), True),
        (("data", "a"), SPECS, frozenset({"ConfigMap"}), False),
        (("data", "a"), {**SPECS, "immutable": True}, frozenset({"ConfigMap"}), True),
        (("metadata", "labels", "a"), SPECS, frozenset(), False),
    ],
)
def test_the_fields_that_the_official_provider_replaces_for_are_replaced_for(changed, new, mutable, replaced):
    assert bool(immutable.replacing(new, new, [changed], mutable)) == replaced


def test_a_custom_kind_of_the_same_name_has_no_such_fields():
    theirs = {**SPECS, "apiVersion": "example.org/v1"}
    assert immutable.replacing(theirs, theirs, [("data", "a")], frozenset()) == []


@pytest.mark.parametrize(
    "message",
    [
        'Job.batch "a" is invalid: spec.template: Invalid value: {}: field is immutable',
        'StatefulSet.apps "a" is invalid: spec: Forbidden: updates to statefulset spec for fields other than ...',
        'StorageClass.storage.k8s.io "a" is invalid: reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.',
        'ConfigMap "a" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        'RoleBinding "a" is invalid: roleRef: Invalid value: {}: cannot change roleRef',
    ],
)
def test_the_server_s_words_for_an_immutable_field_are_understood(message):
    assert immutable.refused_as_immutable(message)


def test_any_other_refusal_is_none_of_them():
    assert not immutable.refused_as_immutable('Service "a" is invalid: spec.ports: Required value')


def test_a_replacement_of_the_same_name_has_to_wait_for_the_old_one_to_go():
    assert immutable.in_the_way(JOB, JOB)
    assert not immutable.in_the_way(JOB, {**JOB, "metadata": {"name": "b", "namespace": "n"}})
    assert not immutable.in_the_way(JOB, {**JOB, "metadata": {"name": "a", "annotations": {objects.AUTONAMED: "true"}}})
