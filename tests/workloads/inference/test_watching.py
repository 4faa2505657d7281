"""What a replica tells whoever watches it, apart from its service."""

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from tests.kit.authority import Authority
from tests.kit.ports import free_port
from tests.kit.processes import running_module
from tests.kit.replicas import running_replica, table_launch, text_launch
from workloads.spec.base import Endpoint
from workloads.spec.delivery import DELIVERED, Delivered
from workloads.spec.launch import ServeLaunch
from workloads.spec.recipe import load_recipe

BODY = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [9, 0, 0, 0]}]}
SERIES = 'site="aws-1",version="3"'


def watched(launch: ServeLaunch, **changes: object) -> ServeLaunch:
    """The same with a health port on all interfaces, as a kubelet and Prometheus need it."""
    return launch.model_copy(update={"health": Endpoint(host="0.0.0.0", port=free_port()), **changes})  # noqa: S104


def metrics(launch: ServeLaunch) -> str:
    assert launch.health is not None
    return httpx.get(f"http://127.0.0.1:{launch.health.port}/metrics").text


def test_requests_are_counted_and_timed_by_the_class_of_their_status(tmp_path: Path) -> None:
    launch = watched(table_launch(tmp_path))
    with running_replica(launch, tmp_path) as replica:
        for path in ("/v2/models/iris/infer", "/v2/models/iris/infer", "/v2/models/rose/infer"):
            httpx.post(f"{replica.url}{path}", json=BODY)
        told = metrics(launch)
    labels = f'model="iris",{SERIES}'
    assert 'isthmus_inference_requests_total{model="iris",site="aws-1",status="2xx",version="3"} 2.0' in told
    assert 'isthmus_inference_requests_total{model="iris",site="aws-1",status="4xx",version="3"} 1.0' in told
    assert f"isthmus_inference_requests_in_flight{{{labels}}} 0.0" in told
    assert f"isthmus_inference_request_seconds_count{{{labels}}} 3.0" in told


def test_a_streamed_answer_is_in_flight_until_its_last_piece(tmp_path: Path) -> None:
    recipe = load_recipe("language", {"model.config.max_position_embeddings": 1024})
    launch = watched(text_launch(tmp_path, {ord("a"): ord("b"), ord("b"): ord("a")}, recipe))
    body = {"model": recipe.name, "prompt": "a", "max_tokens": 1000, "temperature": 0, "stream": True}
    series = f'isthmus_inference_requests_in_flight{{model="language",{SERIES}}}'
    with running_replica(launch, tmp_path) as replica:
        with httpx.stream("POST", f"{replica.url}/v1/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            during = metrics(launch)
            for _ in lines:
                continue
        # the replica may still be closing the stream whose end has arrived
        after = any(f"{series} 0.0" in metrics(launch) for _ in range(100))
    assert f"{series} 1.0" in during
    assert after


def test_the_health_port_has_health_and_nothing_of_the_model(tmp_path: Path) -> None:
    launch = watched(table_launch(tmp_path))
    assert launch.health is not None
    base = f"http://127.0.0.1:{launch.health.port}"
    with running_replica(launch, tmp_path) as replica:
        assert httpx.get(f"{base}/v2/health/live").json() == {"live": True}
        assert httpx.get(f"{base}/v2/health/ready").json() == {"ready": True}
        assert httpx.post(f"{base}/v2/models/iris/infer", json=BODY).status_code == 404
        claimed = {"host": replica.url.removeprefix("http://")}
        assert httpx.post(f"{base}/v2/models/iris/infer", json=BODY, headers=claimed).status_code == 404
        assert httpx.get(f"{replica.url}/metrics").status_code == 404


def test_a_model_that_was_delivered_says_its_version(tmp_path: Path) -> None:
    launch = watched(table_launch(tmp_path), version=None)
    Delivered(recipe="iris", run_id="run-7", version="7", manifest_digest="a" * 64, content="b" * 64).save(
        launch.model.parent / DELIVERED
    )
    launch.save(tmp_path / "serve.json")
    with running_module("workloads.inference", tmp_path / "serve.json", log=tmp_path / "log"):
        card = httpx.get(f"http://{launch.listen}/v2/models/iris").json()
    assert card["versions"] == ["7"]


def test_health_in_plain_text_does_not_go_with_credentials_or_with_the_service_s_port(tmp_path: Path) -> None:
    launch = table_launch(tmp_path)
    credentials = Authority(tmp_path / "pki").issue("aws-1")
    for changes in (
        {"health": launch.listen.model_dump()},
        {"health": {"host": "0.0.0.0", "port": 8081}, "credentials": credentials.model_dump()},  # noqa: S104
    ):
        with pytest.raises(ValidationError, match="health"):
            ServeLaunch.model_validate(launch.model_dump() | changes)
