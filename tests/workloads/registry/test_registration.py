import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit.artefacts import SigningKeys, make_signing_keys, make_table_model, make_trained
from tests.kit.ports import free_port
from tests.kit.processes import run_module, running_module
from workloads.inference.session import GRAPH
from workloads.registry.__main__ import CLIENT_ENVIRONMENT
from workloads.registry.lineage import verified_lineage
from workloads.registry.signing import verify_signature
from workloads.spec.artifact import RESULT, RegisterResult
from workloads.spec.errors import UserError
from workloads.spec.launch import RegisterLaunch
from workloads.spec.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    module = "workloads.registry.server"
    with running_module(module, "--port", str(port), "--folder", folder, log=folder / "log"):
        url = f"http://127.0.0.1:{port}"
        httpx.get(f"{url}/health", timeout=60).raise_for_status()
        yield url


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return make_signing_keys(tmp_path / "keys")


@pytest.fixture
def launch(registry: str, keys: SigningKeys, tmp_path: Path, request: pytest.FixtureRequest) -> RegisterLaunch:
    """A model under a name of the test's own, on the registry that all tests share."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:60].rstrip("-")
    return make_launch(registry, keys, tmp_path, load_recipe("iris", {"name": name}))


def make_launch(
    registry: str, keys: SigningKeys, folder: Path, recipe: Recipe, parents: tuple[str, ...] = ()
) -> RegisterLaunch:
    trained = make_trained(folder / "trained", recipe, parents)
    make_table_model(folder / "model", recipe, parents=(trained.digest(),))
    return RegisterLaunch(
        registry=registry,
        recipe=recipe,
        model=folder / "model",
        trained=folder / "trained",
        signing_key=keys.private,
        output=folder / "registered",
    )


def register(launch: RegisterLaunch) -> RegisterResult:
    os.environ.update(CLIENT_ENVIRONMENT)
    from workloads.registry.registration import register as register_verified  # noqa: PLC0415 - reads the environment

    return register_verified(launch, verified_lineage(launch))


def call(registry: str, method: str, **query: str) -> dict[str, Any]:
    return httpx.get(f"{registry}/api/2.0/mlflow/{method}", params=query).raise_for_status().json()


def test_alias_leads_to_the_lineage(registry: str, launch: RegisterLaunch) -> None:
    result = register(launch)

    alias = call(registry, "registered-models/alias", name=launch.recipe.name, alias="champion")["model_version"]
    assert (alias["version"], alias["run_id"]) == (result.version, result.run_id)
    tags = {tag["key"]: tag["value"] for tag in alias["tags"]}
    lineage = verified_lineage(launch)
    assert tags == {
        "isthmus.model_digest": lineage.compressed.digest(),
        "isthmus.run_id": "run-1",
        "isthmus.recipe": launch.recipe.name,
        "isthmus.recipe_digest": launch.recipe.digest(),
        "isthmus.code_version": "0.1.0+abc",
        "isthmus.parents": lineage.trained.digest(),
        "isthmus.data_digest.aws-1": "a" * 64,
        "isthmus.data_digest.os-1": "b" * 64,
    }


def test_a_fused_models_lineage_leads_to_the_models_of_the_sites(keys: SigningKeys, tmp_path: Path) -> None:
    launch = make_launch("http://127.0.0.1", keys, tmp_path, load_recipe("iris"), parents=("c" * 64, "d" * 64))

    tags = verified_lineage(launch).tags()

    assert tags["isthmus.fused_from"] == f"{'c' * 64},{'d' * 64}"
    assert tags["isthmus.parents"] == verified_lineage(launch).trained.digest()


def test_run_holds_parameters_metrics_and_files(registry: str, launch: RegisterLaunch) -> None:
    result = register(launch)

    run = call(registry, "runs/get", run_id=result.run_id)["run"]
    assert run["info"]["status"] == "FINISHED"
    params = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert params["train.inner.lr"] == str(launch.recipe.train.inner.lr)
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics["compressed.accuracy"] == 0.97
    files = call(registry, "artifacts/list", run_id=result.run_id, path="model")["files"]
    assert {f"model/{name}" for name in (GRAPH, "model.sig", "manifest.json")} <= {file["path"] for file in files}


def test_a_recipe_of_many_settings_is_kept_whole(registry: str, keys: SigningKeys, tmp_path: Path) -> None:
    many = {f"model.config.setting_{number}": number for number in range(120)}
    launch = make_launch(registry, keys, tmp_path, load_recipe("language", {"name": "many-settings", **many}))

    run = call(registry, "runs/get", run_id=register(launch).run_id)["run"]

    kept = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert all(kept[key] == str(number) for key, number in many.items())


def test_model_is_signed_and_result_written(launch: RegisterLaunch, keys: SigningKeys) -> None:
    result = register(launch)

    verify_signature(launch.model, keys.public)
    assert RegisterResult.load(launch.output / RESULT) == result


def test_same_model_is_registered_once(registry: str, launch: RegisterLaunch) -> None:
    first = register(launch)
    again = register(launch)

    assert (again.version, again.run_id) == (first.version, first.run_id)
    versions = call(registry, "model-versions/search", filter=f"name = '{launch.recipe.name}'")["model_versions"]
    assert len(versions) == 1


def test_changed_recipe_gets_the_next_version(
    registry: str, launch: RegisterLaunch, keys: SigningKeys, tmp_path: Path
) -> None:
    first = register(launch)
    recipe = load_recipe("iris", {"name": launch.recipe.name, "train.seed": 8})
    second = register(make_launch(registry, keys, tmp_path / "second", recipe))

    assert (first.version, second.version) == ("1", "2")
    alias = call(registry, "registered-models/alias", name=launch.recipe.name, alias="champion")["model_version"]
    assert alias["version"] == "2"


def test_interrupted_registration_goes_on_with_its_run(registry: str, launch: RegisterLaunch) -> None:
    first = register(launch)
    url = f"{registry}/api/2.0/mlflow/model-versions/delete"
    httpx.request("DELETE", url, json={"name": first.name, "version": first.version}).raise_for_status()

    assert register(launch).run_id == first.run_id


def test_model_of_another_parent_is_refused(launch: RegisterLaunch, tmp_path: Path) -> None:
    make_trained(tmp_path / "other", load_recipe("iris", {"train.seed": 8}))

    with pytest.raises(UserError, match="compress that model again"):
        verified_lineage(launch.model_copy(update={"trained": tmp_path / "other"}))


def test_model_of_another_recipe_is_refused(launch: RegisterLaunch) -> None:
    with pytest.raises(UserError, match="'language'"):
        verified_lineage(launch.model_copy(update={"recipe": load_recipe("language")}))


def test_command_refuses_a_changed_model_in_one_line(launch: RegisterLaunch, tmp_path: Path) -> None:
    (launch.model / GRAPH).write_bytes(b"other")
    launch.save(tmp_path / "spec.json")

    ended = run_module("workloads.registry", tmp_path / "spec.json")

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"error: {launch.model / GRAPH} was changed since the model was made; run `make up` to make it again"
    ]
    assert not launch.output.exists()


def test_command_prints_the_version_and_no_secret(launch: RegisterLaunch, tmp_path: Path) -> None:
    launch.save(tmp_path / "spec.json")

    ended = run_module("workloads.registry", tmp_path / "spec.json")

    result = RegisterResult.load(launch.output / RESULT)
    assert ended.stdout == f"registered {result.name} version 1 as @champion: {result.url}\n"
    assert not ended.stderr


def test_registry_that_is_away_is_a_clear_error(launch: RegisterLaunch) -> None:
    with pytest.raises(UserError, match="does not answer"):
        register(launch.model_copy(update={"registry": f"http://127.0.0.1:{free_port()}"}))


def test_second_registry_on_the_same_port_says_so(registry: str, tmp_path: Path) -> None:
    port = registry.rpartition(":")[2]

    ended = run_module("workloads.registry.server", "--port", port, "--folder", tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in ended.stderr


def test_a_server_on_a_database_of_its_own_brings_its_schema_up_to_date(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{tmp_path / 'registry.db'}")
    port = free_port()
    arguments = ("--port", str(port), "--artifacts", str(tmp_path / "artifacts"))
    for _ in ("empty", "there"):
        with running_module("workloads.registry.server", *arguments, log=tmp_path / "log"):
            client = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
            answer = httpx.post(client, json={"max_results": 5}, timeout=60)
    assert [experiment["name"] for experiment in answer.json()["experiments"]] == ["Default"]


def test_a_server_without_a_database_that_answers_is_one_clear_line(tmp_path: Path, monkeypatch) -> None:
    arguments = ("--port", str(free_port()), "--artifacts", str(tmp_path))
    ended = run_module("workloads.registry.server", *arguments)
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: --artifacts goes with a database, and MLFLOW_BACKEND_STORE_URI is not set; set it, or give --folder\n"
    )
