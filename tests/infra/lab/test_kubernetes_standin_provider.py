"""The lab's Kubernetes stand-in against an API server that is a dictionary: what it asks for, and when it stops."""

from dataclasses import replace

import httpx
import pytest

from tests.infra.lab.kubernetes_server import ASK, CREATED, SPECS_AT, WEB, WEB_AT, FakeServer, refusal, specs, workload
from tests.kit.cloud import whole
from tests.lab.kubeconfig import Access
from tests.lab.providers.contract import UNKNOWN, Ask, HalfMadeError
from tests.lab.providers.kubernetes import awaiting
from tests.lab.providers.kubernetes import provider as provider_module
from tests.lab.providers.kubernetes.api import Api, ApiError
from tests.lab.providers.kubernetes.objects import reference_of
from tests.lab.providers.kubernetes.provider import Kubernetes
from workloads.spec.errors import UserError


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def provider(server, monkeypatch):
    monkeypatch.setattr(awaiting, "_LOOK_S", 0.001)
    made = Kubernetes()
    made.connect(Api(Access("https://127.0.0.1:1", ""), httpx.MockTransport(server)))
    return made


def patches(server):
    return [query for verb, _, query in server.asked if verb == "PATCH"]


def test_an_object_is_applied_by_name_and_strictly_and_its_id_says_where_it_is(provider, server):
    identity, state = provider.create(replace(ASK, new=specs()))
    assert identity == "team/specs"
    assert state["metadata"]["uid"] == "1"
    assert patches(server) == [{"fieldManager": "pulumi-lab", "force": "false", "fieldValidation": "Strict"}]


def test_an_object_that_is_there_already_is_not_taken_over(provider, server):
    server.objects[SPECS_AT] = specs()
    with pytest.raises(UserError, match="ConfigMap team/specs is there already"):
        provider.create(replace(ASK, new=specs()))
    assert not patches(server)


def test_what_is_on_its_way_out_is_waited_for(provider, server):
    server.objects[SPECS_AT] = specs(uid="0", deletionTimestamp="now")
    server.deleting.add(SPECS_AT)
    assert provider.create(replace(ASK, new=specs()))[1]["metadata"]["uid"] == "1"


def test_a_preview_lets_the_server_look_and_leaves_nothing(provider, server):
    assert provider.create(replace(ASK, new=specs(), preview=True)) == ("", specs())
    assert patches(server)[0]["dryRun"] == "All"
    assert not server.objects


def test_a_preview_says_what_the_server_has_against_an_object(provider, server):
    server.refusals = [refusal(422, "spec.x: Required value")]
    with pytest.raises(Exception, match="Required value"):
        provider.create(replace(ASK, new=specs(), preview=True))


@pytest.mark.parametrize(
    ("status", "message"), [(422, "spec.x: Required value"), (500, ".spec.x: field not declared in schema")]
)
def test_what_is_wrong_is_not_tried_again(provider, server, status, message):
    server.refusals = [refusal(status, message)]
    with pytest.raises(ApiError, match=message):
        provider.create(replace(ASK, new=specs()))
    assert len(patches(server)) == 1


@pytest.mark.parametrize("status", [404, 503])
def test_what_is_yet_to_come_is_waited_for(provider, server, status):
    server.refusals = [refusal(status, "not there yet")] * 2
    assert provider.create(replace(ASK, new=specs()))[0] == "team/specs"
    assert len(patches(server)) == 3


def test_what_does_not_come_is_told(provider, server, monkeypatch):
    monkeypatch.setattr(provider_module, "_MISSING_LIMIT_S", 0)
    server.refusals = [refusal(503, "the webhook is away")] * 9
    with pytest.raises(ApiError, match="the webhook is away"):
        provider.create(replace(ASK, new=specs()))


@pytest.mark.parametrize("status", [404, 500])
def test_a_preview_does_not_mind_what_is_yet_to_come(provider, server, status):
    server.refusals = [refusal(status, "namespaces team not found")]
    assert provider.create(replace(ASK, new=specs(), preview=True))[1] == specs()


def test_a_preview_with_unknown_values_asks_nobody(provider, server):
    assert provider.create(replace(ASK, new=specs(UNKNOWN), preview=True))[1] == specs(UNKNOWN)
    assert not server.asked


def test_the_same_inputs_ask_nobody(provider, server):
    assert provider.diff(replace(ASK, old=specs(), new=specs())).changed == ()
    assert not server.asked


def test_a_default_that_the_program_now_writes_down_is_no_change(provider, server):
    server.objects[WEB_AT] = {**workload(), "metadata": {**workload()["metadata"], "uid": "1"}}
    bare = workload()
    del bare["spec"]["replicas"]
    assert provider.diff(replace(WEB, old=bare, new=workload())).changed == ()


def test_what_would_change_the_object_is_an_update(provider, server):
    server.objects[WEB_AT] = {**workload(), "metadata": {**workload()["metadata"], "uid": "1"}}
    new = {**workload(), "spec": {**workload()["spec"], "replicas": 3}}
    found = provider.diff(replace(WEB, old=workload(), new=new))
    assert (found.changed, found.replace) == (("spec",), ())
    assert provider.diff(replace(WEB, old=workload(), new=new, ignored=("spec.replicas",))).changed == ()


def test_contents_of_a_config_map_are_a_replacement_unless_the_provider_is_told_otherwise(provider, server):
    ask = replace(ASK, old=specs("a"), new=specs("b"))
    found = provider.diff(ask)
    assert (found.replace, found.delete_first) == (("data",), True)
    provider._on = frozenset({"enableConfigMapMutable"})
    server.objects[SPECS_AT] = specs("a")
    assert provider.diff(ask).replace == ()


def test_what_the_server_calls_immutable_is_a_replacement(provider, server):
    server.objects[WEB_AT] = workload()
    server.refusals = [refusal(422, "spec.strategy: field is immutable")]
    new = {**workload(), "spec": {**workload()["spec"], "strategy": "x"}}
    assert provider.diff(replace(WEB, old=workload(), new=new)).replace == ("spec",)


def test_what_the_program_had_set_is_taken_back_and_what_is_another_s_is_left(provider, server):
    server.objects[SPECS_AT] = specs("drifted")
    server.conflicts = {".data.k": "kubectl-edit"}
    provider.update(replace(ASK, old=specs("a"), new=specs("b")))
    assert [query["force"] for query in patches(server)] == ["false", "true"]
    server.conflicts = {".data.k": "kubectl-edit", ".data.other": "operator"}
    with pytest.raises(UserError, match="others have set .data.other of operator"):
        provider.update(replace(ASK, old=specs("b"), new=specs("c")))
    assert server.objects[SPECS_AT]["data"] == {"k": "b"}


def test_an_annotation_takes_every_field(provider, server):
    server.conflicts = {".data.k": "operator"}
    forced = specs(annotations={"pulumi.com/patchForce": "true"})
    assert provider.create(replace(ASK, new=forced))[0] == "team/specs"


def test_a_workload_that_does_not_become_ready_is_known_to_the_engine_with_what_holds_it_up(provider, server):
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    server.objects["/api/v1/namespaces/team/pods/web-1"] = {
        "metadata": {"name": "web-1"},
        "status": {"containerStatuses": [{"name": "main", "state": {"waiting": waiting}}]},
    }
    with pytest.raises(HalfMadeError) as failed:
        provider.create(replace(WEB, new=workload(), limit_s=0.01))
    assert failed.value.identity == "team/web"
    assert failed.value.state["spec"] == workload()["spec"]
    assert provider.explain(failed.value.cause) == (
        "Deployment team/web is not ready after 0.01 s: its controller has not seen it; "
        "pod web-1: container main ImagePullBackOff: no such image"
    )


def test_a_workload_whose_annotation_says_so_is_not_awaited(provider):
    assert provider.create(replace(WEB, new=workload(**{"pulumi.com/skipAwait": "true"})))[0] == "team/web"


def test_an_interrupted_wait_ends_and_the_object_is_known(provider):
    provider.cancel()
    with pytest.raises(HalfMadeError, match="interrupted"):
        provider.create(replace(WEB, new=workload()))


def test_a_failed_job_is_not_waited_for(provider, server):
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "web", "namespace": "team"}, "spec": {}}
    at = "/apis/batch/v1/namespaces/team/jobs/web"
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    server.objects[at] = {**body, "metadata": {**body["metadata"], "uid": "1"}, "status": failed}
    ask = Ask(CREATED.format("batch/v1:Job"), "team/web", new=body, old=body)
    with pytest.raises(HalfMadeError, match="Job team/web is not ready: it failed: DeadlineExceeded"):
        provider.update(ask)


@pytest.mark.parametrize(
    ("given", "marks", "limit"),
    [(600, {}, 600), (600, {"pulumi.com/timeoutSeconds": "30"}, 30), (90, {"pulumi.com/timeoutSeconds": "30"}, 90)],
)
def test_the_program_says_how_long_to_wait(given, marks, limit):
    assert awaiting.limit_s(given, workload(**marks)) == limit


def test_drift_is_read_and_an_object_that_is_gone_is_gone(provider, server):
    provider.create(replace(ASK, new=specs("a")))
    server.objects[SPECS_AT]["data"] = {"k": "changed", "foreign": "x"}
    _, inputs = provider.read(replace(ASK, old=specs("a")))
    assert inputs == specs("changed")
    del server.objects[SPECS_AT]
    assert provider.read(replace(ASK, old=specs("a"))) is None


def test_an_object_of_a_kind_that_is_gone_is_gone(provider):
    ask = Ask(
        CREATED.format("example.org/v1:Thing"), "team/thing", old={"apiVersion": "example.org/v1", "kind": "Thing"}
    )
    assert provider.read(ask) is None
    provider.delete(ask)


def test_an_object_without_inputs_is_imported_as_it_is(provider, server):
    server.objects[SPECS_AT] = {**specs(), "metadata": {**specs()["metadata"], "uid": "1", "managedFields": []}}
    _, inputs = provider.read(ASK)
    assert inputs == specs()


def test_a_deletion_waits_until_the_object_is_gone(provider, server):
    server.objects[SPECS_AT] = specs(uid="1")
    provider.delete(replace(ASK, old=specs()))
    assert not server.objects
    provider.delete(replace(ASK, old=specs()))


def test_check_names_what_has_no_name_and_refuses_what_is_no_object(provider):
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}
    inputs, faults = provider.check(replace(ASK, new=bare, seed="0123456789"))
    assert inputs["metadata"]["name"] == "thing-01234567"
    assert not faults
    assert set(provider.check(replace(ASK, new={"metadata": {"name": "a"}}))[1]) == {"apiVersion", "kind"}
    with pytest.raises(UserError, match="no object of the API"):
        provider.check(Ask(CREATED.format("helm.sh/v3:Release"), new=bare))


@pytest.mark.parametrize("values", [{}, {"kubeconfig": "a: b", "enableServerSideApply": "false"}])
def test_a_provider_that_could_not_apply_is_refused(values, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(UserError):
        Kubernetes().configure(values)


def test_a_cluster_that_a_preview_does_not_know_yet_is_not_asked():
    unconnected = Kubernetes()
    unconnected.configure({"kubeconfig": UNKNOWN})
    assert unconnected.create(replace(ASK, new=specs(), preview=True)) == ("", specs())
    assert unconnected.diff(replace(ASK, old=specs(), new=specs(mark="b"))).changed == ("metadata",)


def test_every_object_of_the_program_is_one_of_the_api_s_and_has_a_name():
    declared = [made for made in whole("lab").resources if made.type.startswith("kubernetes:")]
    assert declared
    for made in declared:
        inputs, faults = Kubernetes().check(Ask(made.urn, new=made.inputs))
        assert (inputs["metadata"]["name"], faults) == (made.inputs["metadata"]["name"], {})
        told = reference_of(made.type, "namespace/name")
        assert (told.api_version, told.kind) == (inputs["apiVersion"], inputs["kind"])
