"""The stand-in of the AWS provider, without an emulator: its descriptions against botocore's models and the program."""

from collections import Counter

import pytest
from botocore.validate import ParamValidator

from tests.kit.cloud import whole
from tests.kit.sdk_schema import inputs_of
from tests.lab.aws.layout import ACCOUNT
from tests.lab.providers.aws import kept
from tests.lab.providers.aws.cloud import Cloud
from tests.lab.providers.aws.lacks import LACKS, table
from tests.lab.providers.aws.provider import AwsStandin
from tests.lab.providers.aws.spec import Work
from tests.lab.providers.aws.types import TYPES
from tests.lab.providers.contract import UNKNOWN, Ask
from tests.lab.providers.serving import plain, struct
from workloads.spec.errors import UserError

DECLARED = [resource for resource in whole("lab").resources if resource.type.startswith("aws:")]
SERVICES = ("ec2", "eks", "iam", "kms", "logs", "rolesanywhere", "s3", "secretsmanager", "sts")
VALUES = {
    "region": "us-east-1",
    "endpoints": [dict.fromkeys(SERVICES, "http://127.0.0.1:4566")],
    "defaultTags": {"tags": {"stack": "lab"}},
}
SAID = {"State": "available", "KeyState": "Enabled", "status": "ACTIVE", "Account": ACCOUNT}
"""What states are called where a program may go on."""


class Model(Cloud):
    """Takes what botocore's model of a service takes, and answers with something of the right shape."""

    def call(self, service, operation, region, **arguments):
        model = self.client(service, region).meta
        told = model.service_model.operation_model(model.method_to_api_mapping[operation])
        report = ParamValidator().validate(arguments, told.input_shape)
        assert not report.has_errors(), f"{operation}: {report.generate_report()}"
        self.calls.append(operation)
        if self.calls.count("list_object_versions") > 1:
            return {}  # they are gone by then
        return {} if told.output_shape is None else answer(told.output_shape, "", 0)


def answer(shape, name, depth):
    kind, deep = shape.type_name, depth > 5
    if kind == "structure":
        return {} if deep else {member: answer(inner, member, depth + 1) for member, inner in shape.members.items()}
    if kind == "list":
        return [] if deep else [answer(shape.member, name, depth + 1)]
    return {"string": SAID.get(name, "word"), "boolean": False, "integer": 1, "long": 1, "map": {}}.get(kind, "2026")


@pytest.fixture(scope="module")
def model():
    made = Model.of(VALUES)
    object.__setattr__(made, "calls", [])
    return made


@pytest.fixture
def cloud(model, monkeypatch, tmp_path):
    monkeypatch.setenv(kept.FOLDER, str(tmp_path))
    model.calls.clear()
    return model


@pytest.fixture
def standin():
    made = AwsStandin()
    made.configure(VALUES)
    return made


def urn(token, name="one"):
    return f"urn:pulumi:lab::isthmus::{token}::{name}"


def checked(standin, token, inputs):
    on_the_wire = plain(struct(dict(inputs)))
    return standin.check(Ask(urn(token), new=on_the_wire, seed="0123456789"))[0]


def test_there_is_a_description_of_each_type_that_the_lab_declares_and_of_no_other():
    assert set(TYPES) == {resource.type for resource in DECLARED}


@pytest.mark.parametrize("resource", DECLARED, ids=lambda r: f"{r.type.rpartition(':')[2]}-{r.name}")
def test_every_call_for_a_declared_resource_is_one_that_botocore_knows(cloud, standin, resource):
    kind, inputs = TYPES[resource.type], checked(standin, resource.type, resource.inputs)
    work = Work(kind, cloud, inputs, inputs)
    work.id = str(kind.create(work))
    assert work.id != "None"
    for step in {id(step): step for step in (*kind.later.values(), *kind.changes.values())}.values():
        if step in [each for name, each in {**kind.later, **kind.changes}.items() if name in inputs]:
            step(work)
    work.found = cloud.call("eks", "describe_cluster", "us-east-1", name="x")["cluster"] | {
        f"{word}Arn": "arn" for word in ("nodegroup", "addon", "accessEntry", "association")
    }
    if kind.tagging is not None:
        kind.tagging.change(work, {"gone": "tag"})
    kind.delete(work)


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.token)
def test_a_description_names_inputs_that_the_sdk_has(kind):
    own = {*kind.later, *kind.changes, *kind.local, *kind.elsewhere, *kind.unique, *kind.tells, *kind.unread}
    assert own <= inputs_of(kind.token)


def test_what_the_program_gives_is_read_back_or_known_to_be_unread():
    for kind in TYPES.values():
        assert not kind.unread & kind.tells.keys(), kind.token


def test_default_tags_are_in_all_tags_and_a_resource_s_own_win(standin):
    inputs = checked(standin, "aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16", "tags": {"a": "b"}})
    assert inputs["tagsAll"] == {"stack": "lab", "a": "b"}
    own = checked(standin, "aws:ec2/vpc:Vpc", {"tags": {"stack": "mine"}})
    assert own["tagsAll"] == {"stack": "mine"}


def test_a_name_is_drawn_once(standin):
    kind = "aws:iam/rolePolicy:RolePolicy"
    first = checked(standin, kind, {"role": "r", "policy": "{}"})
    assert first["name"] == "one-0123456"
    again, _ = standin.check(Ask(urn(kind), old=first, new={"role": "r", "policy": "{}"}, seed="fedcba98"))
    assert again["name"] == first["name"]


def test_what_can_change_changes_and_the_rest_is_replaced(standin):
    def difference(old, new):
        found = standin.diff(Ask(urn("aws:iam/role:Role"), "id", old, new))
        return found.changed, found.replace, found.delete_first

    assert difference({"name": "a", "tags": {}}, {"name": "a", "tags": {"x": "y"}}) == (("tags",), (), False)
    assert difference({"name": "a"}, {"name": "b"}) == (("name",), ("name",), False)
    # two of one name cannot be there at once
    assert difference({"name": "a", "path": "/"}, {"name": "a", "path": "/x/"}) == (("path",), ("path",), True)
    assert difference({"name": "a"}, {"name": "a"}) == ((), (), False)


def test_a_preview_says_that_what_comes_out_inside_an_input_is_not_known(standin):
    ask = Ask(urn("aws:eks/cluster:Cluster"), new={"vpcConfig": {"subnetIds": ["a"]}}, preview=True)
    identity, state = standin.create(ask)
    assert identity == ""
    assert state["vpcConfig"] == {"subnetIds": ["a"], "clusterSecurityGroupId": UNKNOWN, "vpcId": UNKNOWN}


def test_a_preview_of_a_changed_template_does_not_promise_its_version(standin):
    old = {"name": "t", "instanceType": "a"}
    state = {**old, "latestVersion": 1, "defaultVersion": 1}
    ask = Ask(
        urn("aws:ec2/launchTemplate:LaunchTemplate"), "lt", old, {**old, "instanceType": "b"}, state, preview=True
    )
    assert standin.update(ask)["latestVersion"] == UNKNOWN


def test_a_type_that_is_not_described_is_refused_in_one_line(standin):
    with pytest.raises(UserError, match="resource type aws:sqs/queue:Queue is unknown to the stand-in"):
        standin.check(Ask(urn("aws:sqs/queue:Queue")))


def test_a_function_that_is_not_known_is_refused_in_one_line(standin):
    with pytest.raises(UserError, match=r"it has aws:index/getAvailabilityZones.*getPartition"):
        standin.invoke("aws:ec2/getAmi:getAmi", {})


def test_an_unknown_endpoint_waits_for_its_being_known():
    made = AwsStandin()
    made.configure({"region": "us-east-1", "accessKey": UNKNOWN})
    with pytest.raises(UserError, match="own inputs are not known yet"):
        _ = made.cloud


def test_an_endpoint_outside_the_lab_is_refused():
    with pytest.raises(UserError, match=r"endpoint of s3 http://192\.0\.2\.1 is neither on this machine's loopback"):
        Cloud.of({"endpoints": [{"s3": "http://192.0.2.1"}]})


def test_a_service_without_endpoint_is_refused():
    with pytest.raises(UserError, match="service kms has no endpoint"):
        Cloud.of({"endpoints": [{"s3": "http://127.0.0.1:1"}]}).client("kms", "us-east-1")


def test_keys_of_the_environment_are_sent_to_nobody(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    given = Cloud.of({"accessKey": "mine", "secretKey": "own", "endpoints": '[{"s3": "http://127.0.0.1:1"}]'})
    for cloud, key in ((Cloud.of(VALUES), "test"), (given, "mine")):
        assert cloud.client("s3", "us-east-1")._request_signer._credentials.access_key == key


def test_lacks_are_shown_with_what_is_done_instead():
    shown = table()
    for lack in LACKS:
        assert lack.what in shown
        assert lack.instead in shown


def test_what_no_emulator_has_comes_changes_and_goes_with_the_emulators_run(cloud):
    kind = TYPES["aws:rolesanywhere/profile:Profile"]
    inputs = {"name": "hybrid", "enabled": True, "roleArns": ["a"], "tags": {}, "tagsAll": {"x": "y"}}
    work = Work(kind, cloud, inputs, inputs)
    work.id = kind.create(work)
    assert kind.read(work)["name"] == "hybrid"
    work.new = {**inputs, "enabled": False}
    kind.changes["enabled"](work)
    assert kind.read(work)["enabled"] is False
    assert Counter({kind: len(rows) for kind, rows in kept.everything().items()}) == {"rolesanywhere-profile": 1}
    kind.delete(work)
    assert kind.read(work) is None
    assert cloud.calls == []
