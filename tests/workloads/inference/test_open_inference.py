"""The Open Inference Protocol of a real replica behind mutual TLS."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit.authority import Authority
from tests.kit.replicas import TABLE, Replica, running_replica, table_launch
from workloads.spec.base import Credentials

INFER = "/v2/models/iris/infer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replica")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder / "pki")


@pytest.fixture(scope="module")
def replica(folder: Path, authority: Authority) -> Iterator[Replica]:
    with running_replica(table_launch(folder, authority.issue("aws-1", address="127.0.0.1")), folder) as replica:
        yield replica


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.issue("gateway"))


@pytest.fixture(scope="module")
def client(replica: Replica, context: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=replica.url, verify=context, timeout=30) as client:
        yield client


def client_context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=credentials.ca)
    context.load_cert_chain(credentials.certificate, credentials.key)
    return context


def tensor(**changes: Any) -> dict[str, Any]:
    row = {"name": "features", "shape": [2, 4], "datatype": "FP32", "data": [1, 3, 2, 0, 9.5, 3, 2, 0]}
    return row | changes


def test_health_and_metadata(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["name"] == "isthmus"
    assert client.get("/v2/models/iris/ready").json() == {"name": "iris", "ready": True}
    metadata = client.get("/v2/models/iris/versions/3").json()
    assert metadata == client.get("/v2/models/iris").json()
    assert metadata["versions"] == ["3"]
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]
    assert [(output["name"], output["shape"]) for output in metadata["outputs"]] == [
        ("logits", [-1, 3]),
        ("label", [-1]),
        ("probabilities", [-1, 3]),
    ]
    assert metadata["outputs"][1]["parameters"] == {"classes": ["setosa", "versicolor", "virginica"]}


def test_inference_gives_logits_and_labels(client: httpx.Client) -> None:
    wanted = [{"name": "logits"}, {"name": "label"}]
    body = {"id": "seven", "parameters": {"trace": True}, "inputs": [tensor()], "outputs": wanted}

    answer = client.post(INFER, json=body)

    assert answer.status_code == 200
    assert answer.headers["x-served-by"] == "aws-1"
    assert answer.json() == {
        "model_name": "iris",
        "model_version": "3",
        "id": "seven",
        "parameters": {"trace": True},
        "outputs": [
            {"name": "logits", "shape": [2, 3], "datatype": "FP32", "data": [1, 3, 2, 9.5, 3, 2]},
            {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["versicolor", "setosa"]},
        ],
    }


def test_probabilities_are_the_softmax_of_the_logits(client: httpx.Client) -> None:
    answer = client.post(INFER, json={"inputs": [tensor(data=[0, 0, 0, 9, 0, 0, 80, 9])]}).json()

    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["probabilities"]["shape"] == [2, 3]
    assert outputs["probabilities"]["data"] == pytest.approx([1 / 3] * 3 + [0, 0, 1])


def test_nested_data_and_the_versioned_path_mean_the_same(client: httpx.Client) -> None:
    flat = client.post(INFER, json={"inputs": [tensor()]})
    nested = client.post(
        "/v2/models/iris/versions/3/infer", json={"inputs": [tensor(data=[[1, 3, 2, 0], [9.5, 3, 2, 0]])]}
    )

    assert nested.json() == flat.json()


def test_only_the_outputs_asked_for_come_back(client: httpx.Client) -> None:
    answer = client.post(INFER, json={"inputs": [tensor()], "outputs": [{"name": "label"}]}).json()

    assert [output["name"] for output in answer["outputs"]] == ["label"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"inputs": [tensor(datatype="FP64")]}, "datatype is 'FP64'; it must be 'FP32'"),
        ({"inputs": [tensor(shape=[8])]}, "shape is [8]; it must be [-1, 4]"),
        ({"inputs": [tensor(shape=[2, 5])]}, "shape is [2, 5]"),
        ({"inputs": [tensor(shape=[0, 4], data=[])]}, "shape is [0, 4]"),
        ({"inputs": [tensor(shape=[1, 4])]}, "8 where 4 are needed"),
        ({"inputs": [tensor(data=[[1, 2, 3, 4], [5, 6, 7]])]}, "3 where 4 are needed"),
        ({"inputs": [tensor(data=[[1, 2, 3, 4], 5])]}, "no list where 4 are needed"),
        ({"inputs": [tensor(shape=[5, 4], data=[0] * 20)]}, "5 rows are too many; the limit is 4"),
        ({"inputs": [tensor(shape=[10**9, 4])]}, "the limit is 4"),
        ({"inputs": [tensor(data=["1", 2, 3, 4, 5, 6, 7, 8])]}, "element 0 is '1'"),
        ({"inputs": [tensor(data=[True, 2, 3, 4, 5, 6, 7, 8])]}, "element 0 is True"),
        ({"inputs": [tensor(data=[1, None, 3, 4, 5, 6, 7, 8])]}, "element 1 is None"),
        ({"inputs": [tensor(data=[1e39, 2, 3, 4, 5, 6, 7, 8])]}, "not a finite FP32 number"),
        ({"inputs": [tensor(data=[10**400, 2, 3, 4, 5, 6, 7, 8])]}, "features"),
        ({"inputs": [tensor(name="pixels")]}, "takes exactly ['features']"),
        ({"inputs": [tensor(), tensor(name="more")]}, "['features', 'more']"),
        ({"inputs": []}, "inputs are []"),
        ({}, "inputs: Field required"),
        ({"inputs": [tensor()], "surprise": 1}, "surprise"),
        ({"inputs": [tensor()], "outputs": [{"name": "odds"}]}, "output 'odds' is unknown"),
        ([], "request: document"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(client: httpx.Client, body: Any, reason: str) -> None:
    answer = client.post(INFER, json=body)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        json.dumps({"inputs": [tensor(data=[float("nan")] * 8)]}).encode(),
        json.dumps({"inputs": [tensor(data=[float("inf")] * 8)]}).encode(),
        b'{"id": "\\ud800", "inputs": []}',
        b"[" * 2000,
    ],
)
def test_what_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(INFER, content=body)

    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v2/models/lotus", "/v2/models/iris/versions/2", "/v2/models/lotus/ready", "/v3"])
def test_what_is_not_there_is_404(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert answer.json().keys() == {"error"}


def test_a_wrong_method_is_405_and_says_the_right_one(client: httpx.Client) -> None:
    answer = client.get(INFER)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json().keys() == {"error"}


def test_an_announced_long_body_is_refused_before_it_is_sent(replica: Replica, context: ssl.SSLContext) -> None:
    url = httpx.URL(replica.url)
    with (
        socket.create_connection((url.host, url.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=url.host) as connection,
    ):
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))  # until the replica hangs up

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert f"the limit is {TABLE.serve.max_request_bytes}" in json.loads(body)["error"]


def test_a_long_body_of_unknown_length_is_refused(client: httpx.Client) -> None:
    answer = client.post(INFER, content=iter([b" " * 1500] * 2))

    assert answer.status_code == 413
    assert "the limit is 2048" in answer.json()["error"]


def test_a_client_without_a_certificate_is_refused(replica: Replica, authority: Authority) -> None:
    anonymous = ssl.create_default_context(cafile=authority.issue("anonymous").ca)

    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        httpx.get(f"{replica.url}/v2/health/live", verify=anonymous)


def test_a_client_of_another_authority_is_refused(replica: Replica, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).issue("gateway")
    context = ssl.create_default_context(cafile=authority.issue("stranger").ca)
    context.load_cert_chain(stranger.certificate, stranger.key)

    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        httpx.get(f"{replica.url}/v2/health/live", verify=context)


def test_plain_text_gets_no_answer(replica: Replica) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{replica.url.replace('https', 'http')}/v2/health/live")


def test_a_replica_never_loads_torch(client: httpx.Client, replica: Replica) -> None:
    client.post(INFER, json={"inputs": [tensor()]}).raise_for_status()

    libraries = [mapped.path for mapped in replica.process.memory_maps()]
    assert any("onnxruntime" in library for library in libraries)
    assert not any("torch" in library for library in libraries)
