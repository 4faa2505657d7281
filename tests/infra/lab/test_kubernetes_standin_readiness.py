"""The lab's Kubernetes stand-in: when it takes an object for ready, and what it says holds one up."""

import pytest

from tests.lab.providers.kubernetes.jsonpath import expressions
from tests.lab.providers.kubernetes.pods import selector, troubles
from tests.lab.providers.kubernetes.readiness import Around, asked_for, verdict
from workloads.spec.errors import UserError

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "n"}}


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
