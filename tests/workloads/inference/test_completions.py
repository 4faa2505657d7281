"""OpenAI's completions of a real replica, over a model whose text is known beforehand."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.kit.artefacts import follow_text
from tests.kit.replicas import CONTEXT, TEXT, Replica, running_replica, text_launch
from workloads.inference.served_model import ServedModel
from workloads.inference.server import build_app
from workloads.inference.session import Reader

# After "<" come two characters of two and of four bytes that share none, then "ab", then the end of the document.
STORY = "é\N{OLD ITALIC LETTER A}ab"
RULES = follow_text(STORY, after=ord("<")) | {ord("x"): ord("y"), ord("y"): ord("x")}


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("replica")
    with running_replica(text_launch(folder, RULES), folder) as replica:
        yield replica


@pytest.fixture(scope="module")
def client(replica: Replica) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=replica.url, timeout=30) as client:
        yield client


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/v1/completions", json={"model": TEXT.name, "temperature": 0} | fields)


def events(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    answer = ask(client, stream=True, **fields)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in answer.text.split("\n\n")[:-2]]


def texts(chunks: list[dict[str, Any]]) -> list[str]:
    return [choice["text"] for chunk in chunks for choice in chunk["choices"]]


def test_a_completion_ends_where_the_document_ends(client: httpx.Client) -> None:
    answer = ask(client, prompt="a <", max_tokens=20)

    assert answer.headers["x-served-by"] == "aws-1"
    body = answer.json()
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"index": 0, "text": STORY, "logprobs": None, "finish_reason": "stop"}]
    tokens = len(STORY.encode())
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": tokens, "total_tokens": 4 + tokens}


def test_a_completion_ends_at_its_limit(client: httpx.Client) -> None:
    choice = ask(client, prompt="x", max_tokens=5).json()["choices"][0]

    assert (choice["text"], choice["finish_reason"]) == ("yxyxy", "length")


def test_without_a_limit_it_is_the_protocols_or_what_room_there_is(client: httpx.Client) -> None:
    assert len(ask(client, prompt="x").json()["choices"][0]["text"]) == 16
    assert len(ask(client, prompt="x" * (CONTEXT - 4)).json()["choices"][0]["text"]) == 3


@pytest.mark.parametrize(
    ("stop", "text"), [("b", "é\N{OLD ITALIC LETTER A}a"), (["zz", "éz", "\N{OLD ITALIC LETTER A}"], "é")]
)
def test_a_stop_sequence_ends_the_text_and_is_not_part_of_it(client: httpx.Client, stop: Any, text: str) -> None:
    choice = ask(client, prompt="<", max_tokens=20, stop=stop).json()["choices"][0]

    assert (choice["text"], choice["finish_reason"]) == (text, "stop")


def test_a_stream_gives_whole_characters_and_the_same_text(client: httpx.Client) -> None:
    chunks = events(client, prompt="<", max_tokens=20)

    assert texts(chunks) == ["é", "\N{OLD ITALIC LETTER A}", "a", "b", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_character_that_the_limit_cuts_is_marked_at_the_end(client: httpx.Client) -> None:
    assert texts(events(client, prompt="<", max_tokens=3)) == ["é", "\N{REPLACEMENT CHARACTER}"]


def test_a_stream_tells_the_usage_when_asked(client: httpx.Client) -> None:
    *_, last = events(client, prompt="x", max_tokens=2, stream_options={"include_usage": True})

    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


def test_echo_and_several_prompts(client: httpx.Client) -> None:
    choices = ask(client, prompt=["x", "y"], max_tokens=2, echo=True).json()["choices"]

    assert [(choice["index"], choice["text"]) for choice in choices] == [(0, "xyx"), (1, "yxy")]
    assert "".join(texts(events(client, prompt=["x", "y"], max_tokens=2, echo=True))) == "xyxyxy"


def test_a_seed_repeats_a_sample(client: httpx.Client) -> None:
    def sample(seed: int) -> str:
        return ask(client, prompt="x", max_tokens=40, temperature=2, seed=seed).json()["choices"][0]["text"]

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(8)}) > 1


def test_text_that_spells_a_mark_is_only_text(client: httpx.Client) -> None:
    answer = ask(client, prompt="<|end|>x", max_tokens=2).json()

    assert answer["choices"][0]["text"] == "yx"
    assert answer["usage"]["prompt_tokens"] == 9


@pytest.mark.parametrize(
    ("fields", "status", "param", "reason"),
    [
        ({"prompt": "x", "model": "gpt"}, 404, "model", "served: 'language'"),
        ({}, 400, "prompt", "Field required"),
        ({"prompt": []}, 400, "prompt", "at least 1"),
        ({"prompt": ["x"] * 5}, 400, "prompt", "5 prompts are too many; the limit is 4"),
        ({"prompt": "x" * CONTEXT}, 400, "prompt", f"the model's context is {CONTEXT} tokens"),
        ({"prompt": "x", "max_tokens": CONTEXT}, 400, "prompt", "lower max_tokens"),
        ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens", "greater than 0"),
        ({"prompt": "x", "temperature": 3}, 400, "temperature", "less than or equal to 2"),
        ({"prompt": "x", "top_p": 0}, 400, "top_p", "greater than 0"),
        ({"prompt": "x", "n": 2}, 400, "n", "got 2"),
        ({"prompt": "x", "logprobs": 3}, 400, "logprobs", "got 3"),
        ({"prompt": "x", "wish": 1}, 400, "wish", "got 1"),
        ({"prompt": "x" * TEXT.serve.max_request_bytes}, 413, None, "the limit is"),
    ],
)
def test_a_wrong_request_gets_openais_error(
    client: httpx.Client, fields: dict[str, Any], status: int, param: str | None, reason: str
) -> None:
    answer = ask(client, **fields)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (status, "invalid_request_error", param)
    assert reason in error["message"]


def test_too_long_has_openais_code(client: httpx.Client) -> None:
    assert ask(client, prompt="x" * CONTEXT).json()["error"]["code"] == "context_length_exceeded"


def test_the_model_is_listed(client: httpx.Client) -> None:
    (card,) = client.get("/v1/models").json()["data"]
    assert card == client.get("/v1/models/language").json()
    assert (card["id"], card["object"]) == ("language", "model")
    assert client.get("/v1/models/gpt").json()["error"]["code"] == "model_not_found"


def test_the_same_model_answers_with_tensors_and_checks_tokens(client: httpx.Client) -> None:
    def infer(data: list[int]) -> httpx.Response:
        tensor = {"name": "input_ids", "shape": [1, len(data)], "datatype": "INT64", "data": data}
        return client.post("/v2/models/language/infer", json={"inputs": [tensor]})

    (logits,) = infer([ord("x"), ord("y")]).json()["outputs"]
    assert np.reshape(logits["data"], logits["shape"]).argmax(-1).tolist() == [[ord("y"), ord("x")]]
    assert "token 258 is not in 0..257" in infer([0, 258]).json()["error"]
    assert "64" in infer([0] * 65).json()["error"]


class CountingModel(ServedModel):
    """The real model, keeping count of its runs and telling of the third."""

    runs = 0
    third_run: asyncio.Event

    async def read(self, reader: Reader, tokens: Sequence[int]) -> NDArray[np.float32]:
        self.runs += 1
        if self.runs == 3:
            self.third_run.set()
        return await super().read(reader, tokens)


@pytest.mark.parametrize("stream", [True, False])
def test_generation_stops_when_the_client_has_gone(tmp_path: Path, *, stream: bool) -> None:
    """Driven at the ASGI boundary, where the moment of going can be chosen: at the third run of the model."""
    launch = text_launch(tmp_path, RULES)
    model = CountingModel(launch)
    model.third_run = asyncio.Event()
    body = {"model": TEXT.name, "prompt": "x", "max_tokens": 50, "temperature": 0, "stream": stream}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/completions",
        "raw_path": b"/v1/completions",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    unread = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if unread:
            return unread.pop()
        await model.third_run.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        await asyncio.sleep(0)

    asyncio.run(build_app(launch, model)(scope, receive, send))

    assert 3 <= model.runs <= 5
