"""The pure parts of the lab's drills: what is kept of a stack, what is lost of a run, what pods and stores say."""

import json
from types import SimpleNamespace

from tests.lab.drills.recreation import Lost, gone, kept, lost_in_training
from tests.lab.drills.serving import ready_address
from tests.lab.drills.stores import endpoints
from tests.lab.drills.training import figures, flavors_of
from tests.lab.drills.view import unwell
from tests.lab.drills.watch import Seen
from tests.lab.timing import spans

STACK = "urn:pulumi:lab::isthmus::"
ARTEFACTS = "isthmus:platform:Platform$isthmus:platform:Artefacts"


def resource(kind, name, **more):
    return {"urn": f"{STACK}{kind}::{name}", "type": kind.rpartition("$")[2], "custom": True, **more}


ROOT = resource("pulumi:pulumi:Stack", "isthmus-lab")
PROVIDER = resource("pulumi:providers:aws", "aws", parent=ROOT["urn"])
KEY = resource("aws:kms/key:Key", "artefacts", parent=ROOT["urn"], provider=f"{PROVIDER['urn']}::id-1")
STORES = resource(ARTEFACTS, "artefacts", parent=ROOT["urn"])
BUCKET = resource(
    f"{ARTEFACTS}$aws:s3/bucket:Bucket",
    "aws-1-artefacts",
    parent=STORES["urn"],
    provider=f"{PROVIDER['urn']}::id-1",
    propertyDependencies={"key": [KEY["urn"]], "tags": None},
)
SIGNER = resource("isthmus:platform:Signing$isthmus:keys:SigningKey", "signing", parent=ROOT["urn"])
VPC = resource("aws:ec2/vpc:Vpc", "aws-1", parent=ROOT["urn"], provider=f"{PROVIDER['urn']}::id-1")
ALL = [ROOT, PROVIDER, KEY, STORES, BUCKET, SIGNER, VPC]


def test_a_recreation_keeps_stores_and_the_signing_key_with_all_that_they_stand_on():
    assert kept(ALL) == {each["urn"] for each in (ROOT, PROVIDER, KEY, STORES, BUCKET, SIGNER)}
    assert gone(ALL) == [VPC["urn"]]


def test_what_is_lost_of_a_run_is_counted_from_where_each_site_went_on():
    after = {"aws-1": 20, "os-1": 10}
    run = SimpleNamespace(sites=("aws-1", "os-1"), interval_rounds=10, resumed_after=after.get)
    seen = {"aws-1": Seen(round=24, samples=960), "os-1": Seen(round=23, samples=950)}
    states = {"aws-1": {10: 400, 20: 800}, "os-1": {10: 400}}
    assert lost_in_training(run, seen, states) == Lost(
        round_before=24, resumed_after_round=10, interval_rounds=10, samples=(960 - 800) + (950 - 400)
    )


def test_endpoints_are_read_from_what_pods_are_given():
    text = (
        "[profile aws-1]\nregion = us-east-1\n[profile os-1]\nregion = regionone\nservices = os-1\n"
        "s3 =\n  addressing_style = path\n[services os-1]\ns3 =\n  endpoint_url = http://10.20.0.1:8080\n"
    )
    assert endpoints(text) == {"aws-1": ("us-east-1", None), "os-1": ("regionone", "http://10.20.0.1:8080")}


def test_a_trainer_s_figures_are_read_by_name():
    text = (
        '# HELP isthmus_round x\nisthmus_round{run="a",site="b"} 3.0\nisthmus_sent_bytes_total{run="a",site="b"} 5e3\n'
    )
    assert figures(text) == {"round": 3.0, "sent_bytes": 5000.0}


def test_flavors_are_those_of_the_gpus():
    given = [{"name": "aws-1", "flavors": {"cpu": "x", "nvidia.com/gpu": "aws-1-l4"}}]
    assert flavors_of({"status": {"admission": {"podSetAssignments": given}}}) == {"aws-1": "aws-1-l4"}
    assert flavors_of({}) == {}


def test_a_pod_that_is_not_well_is_one_line_with_its_reason():
    waiting = {"name": "server", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "not there"}}}
    sick = {
        "metadata": {"namespace": "a", "name": "b"},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    well = {"metadata": {"namespace": "a", "name": "c"}, "status": {"phase": "Succeeded"}}
    assert unwell([sick, well]) == ["a/b: Pending; server ErrImageNeverPull not there"]


def test_a_door_is_asked_by_a_proxy_that_is_ready_and_stays():
    def pod(address, ready="True", **metadata):
        return {
            "metadata": metadata,
            "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
        }

    leaving = pod("10.0.0.1", deletionTimestamp="2026-01-01T00:00:00Z")
    assert ready_address([leaving, pod("10.0.0.2", "False"), pod("10.0.0.3")]) == "10.0.0.3"
    assert ready_address([leaving, pod("10.0.0.2", "False")]) == ""


def test_a_component_s_span_is_from_its_first_step_to_its_last():
    def event(kind, moment, of, parent):
        told = {"urn": of["urn"], "type": of["type"], "op": "create", "new": {"parent": parent["urn"]}}
        return json.dumps({"sequence": moment, "timestamp": moment, kind: {"metadata": told}})

    found = spans(
        [
            event("resourcePreEvent", 9, STORES, ROOT),
            event("resourcePreEvent", 10, BUCKET, STORES),
            event("resOutputsEvent", 14, BUCKET, STORES),
            "a program's own line",
        ]
    )
    assert {name: span.seconds for name, span in found.items()} == {"Artefacts artefacts": 4.0}
