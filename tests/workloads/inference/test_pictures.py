"""The Open Inference Protocol over a model whose input has four axes, driven without a network."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.kit.replicas import picture_launch
from workloads.inference.served_model import ServedModel
from workloads.inference.server import build_app

MODEL = "/v2/models/pictures"
PICTURE = [[[0.0, 5.0], [1.0, 9.0]]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    launch = picture_launch(tmp_path_factory.mktemp("replica"))
    with TestClient(build_app(launch, ServedModel(launch))) as client:
        yield client


def pictures(**changes: Any) -> dict[str, Any]:
    row = {"name": "pixel_values", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [PICTURE]}
    return {"inputs": [row | changes]}


def test_the_metadata_says_what_a_picture_is(client: TestClient) -> None:
    metadata = client.get(MODEL).json()

    assert metadata["inputs"] == [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 1, 2, 2]}]
    assert metadata["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, 3]}


def test_a_picture_is_classified_nested_or_flat(client: TestClient) -> None:
    nested = client.post(f"{MODEL}/infer", json=pictures()).json()["outputs"]
    flat = client.post(f"{MODEL}/infer", json=pictures(data=[0.0, 5.0, 1.0, 9.0])).json()["outputs"]

    assert nested == flat
    assert nested[1] == {"name": "label", "shape": [1], "datatype": "BYTES", "data": ["versicolor"]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": [1, 2, 2]}, "shape is [1, 2, 2]; it must be [-1, 1, 2, 2]"),
        ({"shape": [1, 3, 2, 2]}, "shape is [1, 3, 2, 2]"),
        ({"shape": [1, 1, 4, 1]}, "shape is [1, 1, 4, 1]"),
        ({"data": [[[[0.0, 5.0], [1.0]]]]}, "1 where 2 are needed"),
        ({"shape": [5, 1, 2, 2], "data": [PICTURE] * 5}, "5 rows are too many; the limit is 4"),
        ({"datatype": "UINT8"}, "datatype is 'UINT8'; it must be 'FP32'"),
        ({"name": "features"}, "takes exactly ['pixel_values']"),
    ],
)
def test_what_is_no_picture_is_refused(client: TestClient, changes: dict[str, Any], reason: str) -> None:
    answer = client.post(f"{MODEL}/infer", json=pictures(**changes))

    assert answer.status_code == 400
    assert reason in answer.json()["error"]
