"""Stand-in plugins in Python: where they lie, whom they speak with, and how they answer the engine."""

import json
import subprocess

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from tests.lab.providers import standin
from tests.lab.providers.bridge import sdk_version
from tests.lab.providers.contract import Ask, Difference, HalfMadeError, Standin
from tests.lab.providers.serving import _Servicer, plain, struct
from workloads.spec.errors import UserError


def test_a_plugin_lies_where_the_engine_looks_for_the_sdk_s_version_and_says_that_it_is_no_official_one(tmp_path):
    folder = standin.install("aws", tmp_path)
    assert folder == tmp_path / f"resource-aws-v{sdk_version('aws')}"
    assert standin.is_standin("aws", tmp_path)
    launcher = folder / "pulumi-resource-aws"
    assert "tests.lab.providers.aws" in launcher.read_text()
    assert standin.install("aws", tmp_path) == folder


def test_an_official_plugin_takes_the_stand_in_s_place(tmp_path):
    folder = tmp_path / f"resource-aws-v{sdk_version('aws')}"
    folder.mkdir()
    (folder / "pulumi-resource-aws").write_bytes(b"official")
    assert standin.install("aws", tmp_path) == folder
    assert (folder / "pulumi-resource-aws").read_bytes() == b"official"
    assert not standin.is_standin("aws", tmp_path)


def test_a_launcher_without_an_engine_says_so_in_one_line(tmp_path):
    launcher = standin.install("aws", tmp_path) / "pulumi-resource-aws"
    done = subprocess.run([launcher], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.strip() == "error: no engine address; the Pulumi engine starts this command, for package aws"


@pytest.mark.parametrize("url", ["http://127.0.0.1:4566", "http://localhost:1", "http://[::1]:1", "https://127.8.8.8"])
def test_loopback_is_the_lab(url):
    standin.require_lab(url, "endpoint")


def test_what_the_lab_s_device_leads_to_is_the_lab(monkeypatch):
    monkeypatch.setattr(standin, "_device", lambda address: {"10.30.0.2": "isthmus-lab"}.get(address, "eth0"))
    standin.require_lab("https://10.30.0.2:6443", "server")
    with pytest.raises(UserError, match="server https://10.40.0.2 is neither on this machine's loopback nor reached"):
        standin.require_lab("https://10.40.0.2", "server")


def test_a_name_is_looked_up_nowhere():
    with pytest.raises(UserError, match="names no address"):
        standin.require_lab("https://s3.amazonaws.com", "endpoint of s3")


class Small(Standin):
    package = "aws"

    def configure(self, values):
        if "bad" in values:
            raise UserError("bad is no value; use good")

    def check(self, ask):
        return ask.new | {"seed": ask.seed}, {key: "is odd" for key in ask.new if key == "odd"}

    def diff(self, ask):
        return Difference(("a",), ("a",), delete_first=True)

    def create(self, ask):
        if ask.new.get("fails"):
            raise HalfMadeError("made", {"kept": 1}, UserError("the rest failed"))
        return "id", {**ask.new, "name": ask.name, "token": ask.token}

    def read(self, ask):
        return None if ask.id == "gone" else (ask.state, ask.old)

    def update(self, ask):
        return {"old": ask.old, "new": ask.new}

    def delete(self, ask):
        raise ZeroDivisionError("a mistake")

    def invoke(self, function, arguments):
        return {"asked": function}


@pytest.fixture
def engine():
    """What an engine has of a plugin: a channel to it."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    server = grpc.server(ThreadPoolExecutor(2))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Servicer(Small()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(grace=None)


URN = "urn:pulumi:lab::isthmus::isthmus:platform:Keys$aws:kms/key:Key::logs-key"


def test_a_resource_is_known_by_its_own_type_and_name(engine):
    made = engine.Create(provider_pb2.CreateRequest(urn=URN, properties=struct({"a": 1})))
    assert plain(made.properties) == {"a": 1, "name": "logs-key", "token": "aws:kms/key:Key"}


def test_a_half_made_resource_reaches_the_engine_with_its_id(engine):
    with pytest.raises(grpc.RpcError) as refused:
        engine.Create(provider_pb2.CreateRequest(urn=URN, properties=struct({"fails": True})))
    metadata = dict(refused.value.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    assert (detail.id, plain(detail.properties), list(detail.reasons)) == ("made", {"kept": 1}, ["the rest failed"])


def test_a_user_s_mistake_is_one_line_and_a_bug_says_where_it_is(engine):
    with pytest.raises(grpc.RpcError) as mistake:
        engine.Configure(provider_pb2.ConfigureRequest(args=struct({"bad": 1})))
    assert mistake.value.details() == "bad is no value; use good"
    with pytest.raises(grpc.RpcError) as bug:
        engine.Delete(provider_pb2.DeleteRequest(urn=URN, id="x"))
    assert "ZeroDivisionError: a mistake" in bug.value.details()


def test_what_is_gone_is_told_by_an_answer_without_id(engine):
    assert engine.Read(provider_pb2.ReadRequest(urn=URN, id="gone")).id == ""
    there = engine.Read(provider_pb2.ReadRequest(urn=URN, id="x", inputs=struct({"a": 1})))
    assert (there.id, plain(there.inputs)) == ("x", {"a": 1})


def test_inputs_that_cannot_be_are_told_by_property(engine):
    answer = engine.Check(provider_pb2.CheckRequest(urn=URN, news=struct({"odd": 1}), randomSeed=b"\x01\x02"))
    assert [(each.property, each.reason) for each in answer.failures] == [("odd", "is odd")]
    assert plain(answer.inputs)["seed"] == "0102"


def test_a_replacement_that_cannot_be_beside_the_old_one_says_so(engine):
    answer = engine.Diff(provider_pb2.DiffRequest(urn=URN, id="x"))
    assert list(answer.replaces) == ["a"]
    assert answer.deleteBeforeReplace


def test_secrets_come_opened_and_whole_numbers_whole():
    message = struct_pb2.Struct()
    sealed = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": {"x": 1.0}}
    message.update({"a": sealed, "b": [2.0, 2.5]})
    assert json.dumps(plain(message), sort_keys=True) == '{"a": {"x": 1}, "b": [2, 2.5]}'


def test_an_ask_knows_type_and_name_of_its_urn():
    ask = Ask(URN)
    assert (ask.token, ask.name) == ("aws:kms/key:Key", "logs-key")
