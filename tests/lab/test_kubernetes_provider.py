"""The Kubernetes stand-in between the real engine and a real API server with its controllers.

No node is there: a thread says how pods are. The tests of this module are one story and run in its order.
"""

import base64
import copy
import json
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace

import httpx
import pytest
import yaml

from infra.settings import ROOT
from tests.kit.cloud import whole
from tests.lab.api_server import ApiServer
from tests.lab.cluster import Cluster
from tests.lab.cluster.building import KUBE
from tests.lab.cluster.layout import Layout
from tests.lab.compiling import compiled
from tests.lab.controllers import building as rendering
from tests.lab.controllers.charts import SOURCES
from tests.lab.controllers.fitting import kinds_apart
from tests.lab.half import Half
from tests.lab.providers import standin
from tests.lab.providers.contract import Ask
from tests.lab.providers.kubernetes.api import Api
from tests.lab.providers.kubernetes.kubeconfig import access
from tests.lab.providers.kubernetes.provider import Kubernetes
from tests.lab.providers.serving import plain, struct

pytestmark = pytest.mark.lab

TEAM, NODE = "team", "nowhere"
MERGE = {"Content-Type": "application/merge-patch+json"}
CONFIG = f"/api/v1/namespaces/{TEAM}/configmaps/settings"
WEB = f"/apis/apps/v1/namespaces/{TEAM}/deployments/web"
LOAD = f"/apis/batch/v1/namespaces/{TEAM}/jobs/load"
SECRETS = {"env": "secret-of-env", "text": "secret-of-text", "data": "secret-of-data"}


class Pods(threading.Thread):
    """In scheduler's and kubelet's place: pods run and are ready, unless their label `becomes` says otherwise."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.ended = client, threading.Event()
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        client.post("/api/v1/nodes", json=node).raise_for_status()

    def run(self):
        while not self.ended.wait(0.1):
            for pod in self.client.get("/api/v1/pods").json()["items"]:
                path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
                if pod["metadata"].get("deletionTimestamp"):
                    self.client.delete(path, params={"gracePeriodSeconds": 0})
                elif not pod["spec"].get("nodeName"):
                    bound = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": NODE}}
                    self.client.post(f"{path}/binding", json=bound)
                    self.say(pod, path)

    def say(self, pod, path):
        becomes = pod["metadata"].get("labels", {}).get("becomes", "ready")
        container = pod["spec"]["containers"][0]["name"]
        told = {
            "ready": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": READY},
            "done": {"phase": "Succeeded", "podIP": "10.0.0.1"},
            "stuck": {"containerStatuses": [STUCK | {"name": container}]},
        }[becomes]
        self.client.patch(f"{path}/status", json={"status": told}, headers=MERGE)


READY = [{"type": "Ready", "status": "True"}]
STUCK = {
    "image": "x",
    "imageID": "",
    "ready": False,
    "restartCount": 0,
    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "nobody has this image"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    layout = Layout()
    compiled(KUBE, layout.bin)
    made = ApiServer(layout.bin / KUBE.name, tmp_path_factory.mktemp("api") / "server")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def client(server):
    with server.client() as made:
        pods = Pods(made)
        pods.start()
        yield made
        pods.ended.set()
        pods.join()


class Stack(Half):
    """`pulumi` over objects that are rewritten between the runs."""

    def __init__(self, folder, home, kubeconfig):
        self.objects = folder / "objects.json"
        environment = {"LAB_KUBECONFIG": str(kubeconfig), "LAB_OBJECTS": str(self.objects), "NO_PROXY": "localhost"}
        super().__init__(folder, home, folder, ROOT / "tests/lab/kubernetes_half", environment)
        self.configure()

    def want(self, objects):
        self.objects.write_text(json.dumps(list(objects.values())))

    def plan(self):
        """What an `up` would do, by resource: the kinds of its steps."""
        steps = succeeded(self.preview()).steps()
        return {step["urn"].rpartition("::")[2]: step["op"] for step in steps if step["op"] != "read"}


@pytest.fixture(scope="module")
def stack(client, server, lab_home, tmp_path_factory):
    standin.install("kubernetes", lab_home / "plugins")
    return Stack(tmp_path_factory.mktemp("kubernetes"), lab_home, server.kubeconfig)


@pytest.fixture(scope="module")
def objects():
    """What the story has wanted so far."""
    return {wanted["name"]: wanted for wanted in first()}


def succeeded(done):
    assert done.status == 0, done.text
    return done


def thing(name, version, kind, *, namespace=TEAM, after=(), secret=(), ignore=(), annotations=None, **fields):
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    metadata |= {"annotations": annotations} if annotations else {}
    manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
    return {"name": name, "manifest": manifest, "after": list(after), "secret": list(secret), "ignore": list(ignore)}


def pod(app, **labels):
    container = {
        "name": "main",
        "image": "localhost/web:1",
        "env": [{"name": "PLAIN", "value": "x"}, {"name": "TOKEN", "value": SECRETS["env"]}],
        "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
    }
    return {"metadata": {"labels": {"app": app, **labels}}, "spec": {"containers": [container]}}


def first():
    env = "spec.template.spec.containers.0.env.1.value"
    names = {"plural": "colors", "singular": "color", "kind": "Color"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {"group": "lab.example.org", "scope": "Namespaced", "names": names, "versions": [version]}
    defined = thing("colors.lab.example.org", "apiextensions.k8s.io/v1", "CustomResourceDefinition", namespace="")
    defined["manifest"]["spec"] = definition
    return [
        thing(TEAM, "v1", "Namespace", namespace=""),
        thing("settings", "v1", "ConfigMap", after=[TEAM], data={"color": "red", "size": "1"}),
        thing(
            "keys",
            "v1",
            "Secret",
            after=[TEAM],
            secret=["stringData.text"],
            stringData={"text": SECRETS["text"]},
            data={"data": base64.b64encode(SECRETS["data"].encode()).decode()},
        ),
        thing("quota", "v1", "ResourceQuota", after=[TEAM], spec={"hard": {"pods": "20", "requests.cpu": "9.5"}}),
        thing("slow", "storage.k8s.io/v1", "StorageClass", namespace="", provisioner="lab.example.org/none"),
        defined,
        thing("blue", "lab.example.org/v1", "Color", after=[TEAM, "colors.lab.example.org"], tone=7),
        thing(
            "web",
            "apps/v1",
            "Deployment",
            after=[TEAM, "quota"],
            secret=[env],
            ignore=["spec.replicas"],
            spec={"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": pod("web")},
        ),
        thing("front", "v1", "Service", after=["web"], spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}),
        thing(
            "store",
            "apps/v1",
            "StatefulSet",
            after=[TEAM, "quota"],
            secret=[env],
            spec={"selector": {"matchLabels": {"app": "store"}}, "serviceName": "store", "template": pod("store")},
        ),
        thing("load", "batch/v1", "Job", after=[TEAM, "quota"], spec={"template": run_once("1")}),
    ]


def run_once(value):
    template = pod("load", becomes="done")
    template["spec"] |= {"restartPolicy": "Never"}
    template["spec"]["containers"][0]["env"] = [{"name": "RUN", "value": value}]
    return template


def changed(objects, name, *path, value):
    """Rewrite one field of an object of the story."""
    objects[name] = copy.deepcopy(objects[name])
    at = objects[name]["manifest"]
    for step in path[:-1]:
        at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
    at[path[-1]] = value


def test_up_applies_every_object_and_waits_for_what_has_to_be_ready(stack, client, objects):
    stack.want(objects)
    succeeded(stack.up())
    assert client.get(WEB).json()["status"]["availableReplicas"] == 1
    assert client.get(LOAD).json()["status"]["succeeded"] == 1
    assert client.get(f"/apis/lab.example.org/v1/namespaces/{TEAM}/colors/blue").json()["tone"] == 7
    made = {r["urn"].rpartition("::")[2]: r["id"] for r in stack.resources() if r["type"].startswith("kubernetes:")}
    assert made["web"] == "team/web"
    assert made["slow"] == "slow"
    (manager, *_) = client.get(CONFIG).json()["metadata"]["managedFields"]
    assert (manager["manager"], manager["operation"]) == ("pulumi-lab", "Apply")


def test_nothing_is_left_to_do_after_it(stack):
    assert stack.plan() == {}


def test_a_refresh_agrees(stack):
    succeeded(stack.run("refresh", "--yes", "--skip-preview", "--expect-no-changes"))
    assert stack.plan() == {}


def test_no_secret_is_in_the_state(stack):
    state = json.dumps(stack.resources())
    encoded = [base64.b64encode(text.encode()).decode() for text in SECRETS.values()]
    assert [text for text in (*SECRETS.values(), *encoded) if text in state] == []


def test_what_the_server_says_by_itself_is_no_change_when_the_program_says_it_too(stack, objects):
    changed(objects, "front", "spec", "type", value="ClusterIP")
    changed(objects, "web", "spec", "template", "spec", "containers", 0, "resources", "requests", "cpu", value="500m")
    stack.want(objects)
    assert stack.plan() == {}


def test_what_can_change_is_changed_in_place(stack, client, objects):
    before = {path: client.get(path).json()["metadata"]["uid"] for path in (WEB, LOAD)}
    changed(objects, "web", "spec", "template", "spec", "containers", 0, "image", value="localhost/web:2")
    changed(objects, "load", "metadata", "labels", value={"kept": "yes"})
    stack.want(objects)
    assert stack.plan() == {"web": "update", "load": "update"}
    succeeded(stack.up())
    assert {path: client.get(path).json()["metadata"]["uid"] for path in (WEB, LOAD)} == before
    assert client.get(WEB).json()["status"]["updatedReplicas"] == 1
    assert stack.plan() == {}


def test_what_the_program_leaves_out_is_taken_away(stack, client, objects):
    changed(objects, "load", "metadata", "labels", value={})
    stack.want(objects)
    succeeded(stack.up())
    assert "kept" not in client.get(LOAD).json()["metadata"]["labels"]


def test_what_cannot_change_is_replaced_and_the_old_one_goes_first(stack, client, objects):
    before = client.get(LOAD).json()["metadata"]["uid"]
    changed(objects, "load", "spec", "template", value=run_once("2"))
    changed(objects, "settings", "data", "color", value="green")
    changed(objects, "slow", "reclaimPolicy", value="Retain")  # which only the server knows to be immutable
    stack.want(objects)
    steps = Counter((s["op"], s["urn"].rpartition("::")[2]) for s in succeeded(stack.preview()).steps())
    assert {name for op, name in steps if op == "replace"} == {"load", "settings", "slow"}
    succeeded(stack.up())
    now = client.get(LOAD).json()
    assert now["metadata"]["uid"] != before
    assert now["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == "2"
    assert client.get(CONFIG).json()["data"] == {"color": "green", "size": "1"}
    assert stack.plan() == {}


def test_a_field_that_another_writer_owns_stays_theirs(stack, client, objects):
    client.patch(f"{WEB}/scale?fieldManager=autoscaler", json={"spec": {"replicas": 3}}, headers=MERGE)
    assert stack.plan() == {}
    changed(objects, "web", "metadata", "labels", value={"seen": "yes"})
    stack.want(objects)
    succeeded(stack.up())
    assert client.get(WEB).json()["spec"]["replicas"] == 3
    succeeded(stack.run("refresh", "--yes", "--skip-preview"))
    assert stack.plan() == {}


def test_drift_is_seen_by_a_refresh_and_taken_back_by_the_next_up(stack, client, objects):
    client.patch(f"{CONFIG}?fieldManager=kubectl-edit", json={"data": {"size": "9"}}, headers=MERGE)
    assert stack.plan() == {}
    refreshed = stack.run("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    assert refreshed.status != 0
    assert "settings" in refreshed.text
    succeeded(stack.run("refresh", "--yes", "--skip-preview"))
    assert stack.plan() == {"settings": "replace"}
    succeeded(stack.up())
    assert client.get(CONFIG).json()["data"]["size"] == "1"
    assert stack.plan() == {}


def test_an_object_that_somebody_deleted_is_made_again(stack, client):
    client.delete(CONFIG)
    succeeded(stack.run("refresh", "--yes", "--skip-preview"))
    assert stack.plan() == {"settings": "create"}
    succeeded(stack.up())
    assert client.get(CONFIG).status_code == httpx.codes.OK


def test_a_field_of_another_manager_is_not_taken(stack, client, objects):
    client.patch(f"{WEB}?fieldManager=operator", json={"spec": {"minReadySeconds": 2}}, headers=MERGE)
    changed(objects, "web", "spec", "minReadySeconds", value=1)
    stack.want(objects)
    failed = stack.up()
    assert failed.status != 0
    assert "Deployment team/web: others have set .spec.minReadySeconds of operator" in failed.text
    changed(objects, "web", "spec", "minReadySeconds", value=2)
    stack.want(objects)
    assert stack.plan() == {}


def test_what_does_not_become_ready_fails_in_one_line_and_is_mended_by_the_next_up(stack, client, objects):
    spec = {"selector": {"matchLabels": {"app": "bad"}}, "template": pod("bad", becomes="stuck")}
    patience = {"pulumi.com/timeoutSeconds": "3"}
    objects["bad"] = thing("bad", "apps/v1", "Deployment", after=[TEAM], annotations=patience, spec=spec)
    stack.want(objects)
    failed = stack.up()
    assert failed.status != 0
    (line,) = {line.strip() for line in failed.text.splitlines() if "is not ready after 3 s" in line}
    assert "Deployment team/bad" in line
    assert "container main ImagePullBackOff: nobody has this image" in line
    assert [r["id"] for r in stack.resources() if r["urn"].endswith("::bad")] == ["team/bad"]
    changed(objects, "bad", "spec", "template", value=pod("bad"))
    stack.want(objects)
    succeeded(stack.up())
    assert stack.plan() == {}


def test_an_object_that_is_not_of_the_stack_is_not_taken_over(stack, client, objects):
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "b"}}
    client.post(f"/api/v1/namespaces/{TEAM}/configmaps", json=theirs)
    with_theirs = {**objects, "theirs": thing("theirs", "v1", "ConfigMap", after=[TEAM], data={"a": "c"})}
    stack.want(with_theirs)
    failed = stack.up()
    assert failed.status != 0
    assert "ConfigMap team/theirs is there already" in failed.text
    assert client.get(f"/api/v1/namespaces/{TEAM}/configmaps/theirs").json()["data"] == {"a": "b"}
    stack.want(objects)


def test_what_is_wrong_is_said_by_a_preview(stack, objects):
    wrong = thing("wrong", "v1", "Service", after=[TEAM], spec={"ports": [{"port": 80, "colour": "red"}]})
    stack.want({**objects, "wrong": wrong})
    refused = stack.preview()
    assert refused.status != 0
    assert "colour" in refused.text
    stack.want(objects)


def test_destroy_leaves_nothing(stack, client):
    succeeded(stack.run("destroy", "--yes", "--skip-preview", "--refresh=false"))
    assert client.get(f"/api/v1/namespaces/{TEAM}").status_code == httpx.codes.NOT_FOUND
    assert client.get("/apis/lab.example.org/v1").status_code == httpx.codes.NOT_FOUND
    assert client.get("/apis/storage.k8s.io/v1/storageclasses").json()["items"] == []
    assert client.get("/api/v1/pods").json()["items"] == []
    assert [r for r in stack.resources() if r["type"].startswith("kubernetes:")] == []


@pytest.fixture(scope="module")
def kinds(client):
    """The kinds of the program's controllers, and the namespaces that come with those; no controller is there."""
    cluster = Cluster(Layout().root)
    if not all(rendering.manifest(cluster.layout, source).is_file() for source in SOURCES):
        rendering.build(cluster)
    for source in SOURCES:
        text = rendering.manifest(cluster.layout, source).read_text()
        for kind in kinds_apart(yaml.load_all(text, yaml.CSafeLoader))[0]:
            kind["spec"].pop("conversion", None)  # by a webhook of the controller
            client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=kind).raise_for_status()
    for name in sorted({source.release.namespace for source in SOURCES}):
        client.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()


@pytest.fixture
def provider(server):
    """Without an engine: what is looked at are objects, not steps."""
    with closing(Api(access(str(server.kubeconfig)))) as api:
        made = Kubernetes()
        made.connect(api)
        yield made


def test_every_object_of_the_whole_program_is_taken_and_read_back_as_it_was_written(kinds, provider):
    declared = [made for made in whole("lab").resources if made.type.startswith("kubernetes:")]
    asks = [Ask(made.urn, old=(inputs := not_awaited(made.inputs)), new=inputs) for made in declared]
    asks.sort(key=lambda ask: ask.new["kind"] != "Namespace")
    made = [replace(ask, id=provider.create(ask)[0]) for ask in asks]
    changed = {ask.urn for ask in made if opened(provider.read(ask)[1]) != ask.old}
    for ask in reversed(made):
        provider.delete(ask)
    assert len(made) > 100
    assert changed == set()


def not_awaited(inputs):
    metadata = inputs["metadata"]
    marks = {**metadata.get("annotations", {}), "pulumi.com/skipAwait": "true"}
    return {**inputs, "metadata": {**metadata, "annotations": marks}}


def opened(inputs):
    """The inputs with a Secret's contents as the engine would give them back."""
    return plain(struct(inputs))
