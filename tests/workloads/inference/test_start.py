"""How a replica starts, refuses to start, and stops."""

import contextlib
import socket
from pathlib import Path

import httpx
import pytest

from tests.kit.authority import Authority
from tests.kit.processes import run_module
from tests.kit.replicas import running_replica, table_launch, text_launch
from workloads.inference.listening import listen
from workloads.inference.served_model import ServedModel
from workloads.inference.server import build_app, serve
from workloads.inference.session import GRAPH
from workloads.registry.signing import sign
from workloads.spec.artifact import MANIFEST, SIGNATURE
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.recipe import ServeSpec, load_recipe


def test_a_tampered_model_is_not_served(tmp_path: Path) -> None:
    launch = table_launch(tmp_path)
    launch.save(tmp_path / "serve.json")
    graph = launch.model / GRAPH
    graph.write_bytes(graph.read_bytes().replace(b"tiny", b"tinx"))

    ended = run_module("workloads.inference", tmp_path / "serve.json")

    assert ended.returncode == 2
    assert not ended.stdout
    assert ended.stderr.count("\n") == 1
    assert GRAPH in ended.stderr
    with contextlib.closing(socket.socket()) as probe:
        assert probe.connect_ex((launch.listen.host, launch.listen.port)) != 0


def test_a_manifest_is_checked_even_where_the_signature_holds(tmp_path: Path) -> None:
    launch = table_launch(tmp_path)
    (launch.model / "extra.bin").write_bytes(b"")
    (launch.model / SIGNATURE).unlink()
    sign(launch.model, tmp_path / "signing.pem")

    with pytest.raises(UserError, match=r"extra\.bin was added"):
        ServedModel(launch)


@pytest.mark.parametrize("missing", [SIGNATURE, MANIFEST, GRAPH])
def test_a_model_with_a_file_missing_is_not_loaded(tmp_path: Path, missing: str) -> None:
    launch = table_launch(tmp_path)
    (launch.model / missing).unlink()

    with pytest.raises(UserError, match=missing):
        ServedModel(launch)


def test_a_model_of_another_recipe_is_not_loaded(tmp_path: Path) -> None:
    launch = table_launch(tmp_path)

    with pytest.raises(UserError, match="'lotus'"):
        ServedModel(launch.model_copy(update={"recipe": load_recipe("iris", {"name": "lotus"})}))


def test_a_table_cannot_be_completed(tmp_path: Path) -> None:
    launch = table_launch(tmp_path)
    recipe = launch.recipe.model_copy(update={"serve": ServeSpec(protocols=("openai-completions",))})
    changed = launch.model_copy(update={"recipe": recipe})

    with pytest.raises(UserError, match="only language models complete"):
        build_app(changed, ServedModel(launch))


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    launch = table_launch(tmp_path)
    launch.save(tmp_path / "serve.json")

    with socket.create_server((launch.listen.host, launch.listen.port)):
        ended = run_module("workloads.inference", tmp_path / "serve.json")

    assert ended.returncode == 2
    assert not ended.stdout
    expected = f"error: cannot listen on {launch.listen}: Address already in use; stop what holds it, or choose another"
    assert ended.stderr == f"{expected} port\n"


def test_plain_text_is_served_on_loopback_only() -> None:
    with pytest.raises(UserError, match="loopback only"):
        listen(Endpoint(host="0.0.0.0", port=8000))  # noqa: S104 - the mistake that is refused


def test_credentials_that_cannot_be_read_are_a_clear_error(tmp_path: Path) -> None:
    credentials = Authority(tmp_path / "pki").issue("aws-1")
    credentials.key.write_text("not a key")

    with pytest.raises(UserError, match="credentials cannot be read"):
        serve(table_launch(tmp_path, credentials))


def test_a_stopped_replica_finishes_what_it_has_begun(tmp_path: Path) -> None:
    recipe = load_recipe("language", {"model.config.max_position_embeddings": 1024})
    launch = text_launch(tmp_path, {ord("a"): ord("b"), ord("b"): ord("a")}, recipe)
    body = {"model": recipe.name, "prompt": "a", "max_tokens": 1000, "temperature": 0, "stream": True}
    with running_replica(launch, tmp_path) as replica:
        with httpx.stream("POST", f"{replica.url}/v1/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            replica.process.terminate()
            rest = [line for line in lines if line]
        status = replica.process.wait(30)

    assert first.startswith("data: {")
    assert rest[-1] == "data: [DONE]"
    assert len(rest) == 1001
    assert status == 0
