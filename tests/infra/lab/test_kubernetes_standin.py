"""The lab's Kubernetes stand-in, its pure parts: what it compares, replaces, awaits and refuses."""

import base64

import pytest
import yaml

from tests.lab.providers.kubernetes import comparing, immutable, kubeconfig, objects, paths
from tests.lab.providers.kubernetes.jsonpath import expressions
from tests.lab.providers.kubernetes.pods import selector, troubles
from tests.lab.providers.kubernetes.readiness import Around, asked_for, verdict
from workloads.spec.errors import UserError


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


def deployment(replicas=2, *, generation=1, observed=1, **status):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "generation": generation},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "a", "b": "c"}}},
        "status": {"observedGeneration": observed, **status},
    }


ROLLED_OUT = [
    {"type": "Available", "status": "True"},
    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
]
BROKEN = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}]


@pytest.mark.parametrize(
    ("live", "why_not"),
    [
        (deployment(updatedReplicas=2, conditions=ROLLED_OUT), ""),
        (deployment(updatedReplicas=2, conditions=ROLLED_OUT, generation=2), "its controller has not seen it"),
        (deployment(updatedReplicas=1, availableReplicas=1, conditions=ROLLED_OUT), "1 of 2 replicas are available"),
        (deployment(conditions=BROKEN), "0 of 2 replicas are available: exceeded quota: gpus"),
        (deployment(replicas=0, conditions=ROLLED_OUT), ""),
    ],
)
def test_a_deployment_is_ready_when_its_newest_version_is_rolled_out(live, why_not):
    told = verdict(live, Around())
    assert (told.ready, told.why_not) == (not why_not, why_not)


def job(*conditions, **spec):
    return {**JOB, "spec": spec, "status": {"conditions": list(conditions)}}


def test_a_job_is_ready_when_it_is_complete_and_hopeless_when_it_failed():
    assert verdict(job({"type": "Complete", "status": "True"}), Around()).ready
    assert verdict(job(suspend=True), Around()).why_not == "it is suspended"
    failed = verdict(
        job({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}), Around()
    )
    assert failed.hopeless
    assert failed.why_not == "it failed: BackoffLimitExceeded m"


def service(**spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}


SLICE = {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}]}


@pytest.mark.parametrize(
    ("live", "slices", "ready"),
    [
        (service(selector={"a": "b"}), [SLICE], True),
        (service(selector={"a": "b"}), [], False),
        (service(selector={"a": "b"}), [{"endpoints": None}], False),
        (service(selector={"a": "b"}, clusterIP="None"), [], True),
        (service(), [], True),
        (service(type="ExternalName"), [], True),
        (service(selector={"a": "b"}, type="LoadBalancer"), [SLICE], False),
    ],
)
def test_a_service_is_ready_when_a_pod_is_behind_it(live, slices, ready):
    assert verdict(live, Around(slices=slices)).ready == ready


def test_a_stateful_set_is_ready_when_every_replica_is_of_the_new_version():
    live = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "a", "generation": 1},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "readyReplicas": 1,
            "currentRevision": "x",
            "updateRevision": "y",
        },
    }
    assert not verdict(live, Around()).ready
    assert verdict({**live, "status": {**live["status"], "currentRevision": "y"}}, Around()).ready


def test_a_claim_that_binds_late_is_ready_while_it_is_pending():
    live = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "a"},
        "status": {"phase": "Pending"},
    }
    assert not verdict(live, Around()).ready
    assert verdict(live, Around(late_binding=True)).ready


def test_a_kind_without_a_rule_is_ready_at_once():
    assert verdict({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {}}, Around()).ready


LIVE = {
    "status": {
        "phase": "Running",
        "n": 2,
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Completed", "status": "False"}],
    }
}


@pytest.mark.parametrize(
    ("annotation", "ready"),
    [
        ("condition=Ready", True),
        ("condition=Completed", False),
        ("condition=Completed=False", True),
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath={.status.n}=2", True),
        ("jsonpath={.status.nothing}", False),
        ("jsonpath={.status.conditions[*].type}=Completed", True),
        ("jsonpath={.status['phase']}=Pending", False),
        ("jsonpath={.status.conditions[?(@.type=='Ready')].status}=True", True),
        ("jsonpath={.status.conditions[0].type}", True),
        ('["condition=Ready", "jsonpath={.status.phase}=Pending"]', False),
    ],
)
def test_what_an_annotation_waits_for(annotation, ready):
    assert asked_for(LIVE, expressions(annotation)).ready == ready


@pytest.mark.parametrize("annotation", ["Ready", "condition=", "jsonpath={.a[b}"])
def test_an_annotation_that_says_nothing_is_refused(annotation):
    with pytest.raises(UserError, match="waitFor"):
        expressions(annotation)


def pod(name, *containers, conditions=(), **status):
    return {
        "metadata": {"name": name},
        "status": {"phase": "Pending", "conditions": list(conditions), "containerStatuses": list(containers), **status},
    }


def test_pods_say_what_holds_them_up():
    pulls = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff", "message": 'back-off "x:1"'}}}
    starts = {"name": "side", "state": {"waiting": {"reason": "PodInitializing"}}}
    crashes = {
        "name": "main",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 3}},
    }
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes fit"}
    fine = pod("d", conditions=[{"type": "Ready", "status": "True"}])
    told = troubles([pod("a", starts, pulls), pod("b", crashes), pod("c", conditions=[nowhere]), fine])
    assert told == (
        'pod a: container main ImagePullBackOff: back-off "x:1"; '
        "pod b: container main CrashLoopBackOff after status 3; pod c: Unschedulable: 0/2 nodes fit"
    )
    assert troubles([pod("a", starts)]) == "pod a: container side PodInitializing"
    assert troubles([fine]) == ""


def test_pods_are_found_by_the_workload_s_selector():
    assert selector(deployment()) == "app=a,b=c"
    assert selector(service(selector={"x": "y"})) == "x=y"
    assert selector(service()) is None


TOKEN = {"token": "t"}


def config(server="https://127.0.0.1:6443", **user):
    return yaml.safe_dump(
        {
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin", "namespace": "team"}}],
            "clusters": [{"name": "lab", "cluster": {"server": server}}],
            "users": [{"name": "admin", "user": user}],
        }
    )


def test_a_kubeconfig_is_taken_as_text_and_as_a_file_with_files_beside_it(tmp_path, monkeypatch):
    as_text = kubeconfig.access(config(**TOKEN))
    assert (as_text.server, as_text.token, as_text.namespace) == ("https://127.0.0.1:6443", "t", "team")
    (tmp_path / "admin.crt").write_text("PEM")
    (tmp_path / "kubeconfig").write_text(config(**{"client-certificate": "admin.crt"}))
    monkeypatch.chdir(tmp_path.parent)
    assert kubeconfig.access(f"{tmp_path.name}/kubeconfig").certificate == "PEM"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            config("https://192.0.2.1:6443"),
            "192.0.2.1:6443 is neither on this machine's loopback nor reached by isthmus-lab",
        ),
        (config("https://eks.example.org"), "names no address"),
        (config("http://127.0.0.1:8080"), "plain HTTP"),
        (config(exec={"command": "aws"}), "exec is no way in for the lab"),
        (
            config(**TOKEN).replace("current-context: lab", "current-context: other"),
            "'other' is none of its contexts",
        ),
        (config(**{"client-key-data": "%%"}), "client-key is no PEM text"),
        ("a: [", "no YAML"),
        ("nowhere/kubeconfig", "No such file"),
    ],
)
def test_a_kubeconfig_that_is_not_the_lab_s_is_refused_in_one_line(text, told):
    with pytest.raises(UserError, match="kubeconfig|Kubernetes API server") as refused:
        kubeconfig.access(text)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_keys_that_do_not_fit_are_refused_without_their_content():
    access = kubeconfig.access(config(**{"client-certificate-data": base64.b64encode(b"SECRET").decode()}))
    with pytest.raises(UserError, match="no PEM") as refused:
        access.tls()
    assert "SECRET" not in str(refused.value)
