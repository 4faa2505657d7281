"""Real models on real data through pruning, quantisation and the gate."""

import json
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch

from tests.kit.processes import run_module
from workloads.compression.finished import finished_result
from workloads.compression.pruning import prune
from workloads.compression.search import compress
from workloads.inference.session import GRAPH, open_session, predictor
from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, CompressResult
from workloads.spec.errors import UserError
from workloads.spec.launch import CompressLaunch, ShardLaunch
from workloads.spec.recipe import CompressSpec, Gate, Recipe, load_recipe
from workloads.trainer.evaluation import score
from workloads.trainer.model import build_model, load_model, logits, save_model
from workloads.trainer.shard import make_shard
from workloads.trainer.shard_files import read_part

SITES = ("aws-1", "os-1")
LLAMA = {
    "model.config.hidden_size": 32,
    "model.config.intermediate_size": 40,
    "model.config.num_hidden_layers": 2,
    "model.config.num_attention_heads": 2,
    "model.config.num_key_value_heads": 2,
    "model.config.max_position_embeddings": 32,
    "data.context": 32,
    "data.max_bytes_per_site": 20000,
}


def make_launch(folder: Path, recipe: Recipe) -> CompressLaunch:
    """Shards, and a model of `recipe` that has learned from them if they are a table."""
    shards = {site: folder / site for site in SITES}
    data = {
        site: make_shard(ShardLaunch(recipe=recipe, site=site, sites=SITES, folder=shard))
        for site, shard in shards.items()
    }
    torch.manual_seed(1)
    model = build_model(recipe)
    if recipe.data.kind == "table":
        learn(model, list(shards.values()))
    trained = folder / "trained"
    trained.mkdir()
    save_model(model, recipe, trained, shards["aws-1"])
    ArtifactManifest(
        kind="trained",
        run_id="run-1",
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        data_digests={site: manifest.data_digest for site, manifest in data.items()},
        code_version="0.1.0+abc",
        metrics={},
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        files=ArtifactManifest.of_files(trained),
    ).save(trained / MANIFEST)
    return CompressLaunch(recipe=recipe, model=trained, shards=shards, output=folder / "compressed")


def learn(model: torch.nn.Module, shards: list[Path]) -> None:
    parts = [read_part(shard, "train") for shard in shards]
    features = torch.cat([torch.from_numpy(part["features"]) for part in parts])
    labels = torch.cat([torch.from_numpy(part["labels"]) for part in parts])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits(model, features), labels).backward()
        optimizer.step()


def with_compression(launch: CompressLaunch, ratios: tuple[float, ...], gate: Gate) -> CompressLaunch:
    recipe = launch.recipe.model_copy(update={"compress": CompressSpec(prune_ratios=ratios, gate=gate)})
    return launch.model_copy(update={"recipe": recipe})


def run(launch: CompressLaunch) -> tuple[CompressResult, list[str]]:
    lines: list[str] = []
    return compress(launch, ArtifactManifest.load(launch.model / MANIFEST), lines.append), lines


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> CompressLaunch:
    launch = make_launch(tmp_path_factory.mktemp("iris"), load_recipe("iris"))
    return with_compression(launch, (0.0, 0.2, 0.9), Gate(metric="accuracy", bound=0.9, max_relative_loss=0.02))


@pytest.fixture(scope="module")
def iris_run(iris: CompressLaunch) -> tuple[CompressResult, list[str]]:
    return run(iris)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> CompressLaunch:
    launch = make_launch(tmp_path_factory.mktemp("llama"), load_recipe("language", LLAMA))
    return with_compression(launch, (0.5,), Gate(metric="bits_per_byte", bound=9.0, max_relative_loss=0.05))


@pytest.fixture(scope="module")
def llama_result(llama: CompressLaunch) -> CompressResult:
    return run(llama)[0]


def test_the_strongest_ratio_that_passes_wins(iris_run: tuple[CompressResult, list[str]]) -> None:
    result, lines = iris_run

    assert [(candidate.prune_ratio, candidate.passed) for candidate in result.candidates] == [(0.9, False), (0.2, True)]
    assert result.prune_ratio == 0.2
    assert result.candidates[-1].parameters == 8 * 4 + 8 + 3 * 8 + 3
    assert len(lines) == 3
    assert "pruned by 90%" in lines[1]
    assert lines[1].endswith("fails")


def test_the_result_is_what_the_published_model_scores(
    iris: CompressLaunch, iris_run: tuple[CompressResult, list[str]]
) -> None:
    folder = iris.output / "model"
    predict = predictor(open_session(folder / GRAPH, threads=1))

    assert score(iris.recipe, predict, iris.shards)["accuracy"] == iris_run[0].after
    assert iris_run[0].bytes_after == (folder / GRAPH).stat().st_size
    assert json.loads((folder / "labels.json").read_text())["classes"] == ["setosa", "versicolor", "virginica"]


def test_the_manifest_names_its_parent_and_all_files(
    iris: CompressLaunch, iris_run: tuple[CompressResult, list[str]]
) -> None:
    manifest = ArtifactManifest.load(iris.output / "model" / MANIFEST)

    manifest.verify(iris.output / "model")
    trained = ArtifactManifest.load(iris.model / MANIFEST)
    assert (manifest.kind, manifest.parents) == ("compressed", (trained.digest(),))
    assert manifest.digest() == iris_run[0].manifest_digest
    assert {path.name for path in iris.output.iterdir()} == {"model", RESULT}


def test_weights_are_int8(iris: CompressLaunch, iris_run: tuple[CompressResult, list[str]]) -> None:
    graph = onnx.load(iris.output / "model" / GRAPH).graph

    matrices = [tensor for tensor in graph.initializer if len(tensor.dims) == 2]
    assert {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in matrices} == {"INT8"}


def test_a_finished_compression_is_not_done_again(
    iris: CompressLaunch, iris_run: tuple[CompressResult, list[str]], tmp_path: Path
) -> None:
    graph = iris.output / "model" / GRAPH
    before = graph.stat().st_mtime_ns
    iris.save(tmp_path / "spec.json")

    ended = run_module("workloads.compression", tmp_path / "spec.json")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "pruned by 20%" in ended.stdout
    assert graph.stat().st_mtime_ns == before


def test_another_recipe_or_parent_is_not_finished(
    iris: CompressLaunch, iris_run: tuple[CompressResult, list[str]]
) -> None:
    trained = ArtifactManifest.load(iris.model / MANIFEST)
    other = with_compression(iris, (0.1,), iris.recipe.compress.gate)

    assert finished_result(iris, trained) == iris_run[0]
    assert finished_result(other, trained) is None
    assert finished_result(iris, trained.model_copy(update={"run_id": "run-2"})) is None


def test_the_gate_refuses_and_nothing_is_published(iris: CompressLaunch, tmp_path: Path) -> None:
    gate = Gate(metric="accuracy", bound=1.0, max_relative_loss=0.0)
    launch = with_compression(iris.model_copy(update={"output": tmp_path / "out"}), (0.9,), gate)

    with pytest.raises(UserError, match=r"best accuracy 0\.\d+, needed at least 1 .* train longer"):
        run(launch)
    assert list(launch.output.iterdir()) == []


def test_a_refusal_leaves_the_model_before_it_alone(
    iris: CompressLaunch, iris_run: tuple[CompressResult, list[str]]
) -> None:
    launch = with_compression(iris, (1.0,), iris.recipe.compress.gate)

    with pytest.raises(UserError, match="leaves none of 10 hidden units"):
        run(launch)
    assert CompressResult.load(iris.output / RESULT) == iris_run[0]
    ArtifactManifest.load(iris.output / "model" / MANIFEST).verify(iris.output / "model")


def test_a_tampered_model_is_refused_in_one_line(iris: CompressLaunch, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    for path in iris.model.iterdir():
        (trained / path.name).write_bytes(path.read_bytes())
    weights = trained / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    iris.model_copy(update={"model": trained}).save(tmp_path / "spec.json")

    ended = run_module("workloads.compression", tmp_path / "spec.json")

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"{weights} was changed" in ended.stderr


def test_other_data_than_the_model_learned_from_is_refused(iris: CompressLaunch) -> None:
    swapped = {"aws-1": iris.shards["os-1"], "os-1": iris.shards["aws-1"]}

    with pytest.raises(UserError, match="is not the"):
        run(iris.model_copy(update={"shards": swapped}))


def test_a_llama_is_pruned_alike_in_every_layer(llama: CompressLaunch, llama_result: CompressResult) -> None:
    """Half of 40 is 20, which rounds to 16, the even one of the two multiples of 8 that are as near."""
    graph = onnx.load(llama.output / "model" / GRAPH).graph
    widths = Counter(tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 2)

    assert widths[32, 16] == 4  # gate and up of two layers
    assert widths[16, 32] == 2  # down
    removed = 3 * 32 * (40 - 16) * 2
    assert llama_result.candidates[0].parameters == ArtifactManifest.load(llama.model / MANIFEST).parameters - removed


def test_a_compressed_llama_computes_what_the_pruned_one_does(
    llama: CompressLaunch, llama_result: CompressResult
) -> None:
    predict = predictor(open_session(llama.output / "model" / GRAPH, threads=1))
    model, recipe = load_model(llama.model)
    prune(model, recipe, 0.5)

    for batch, sequence in [(1, 1), (3, 7), (1, 32)]:
        tokens = torch.arange(batch * sequence).reshape(batch, sequence) % 258
        exact = logits(model, tokens).detach().numpy()
        assert abs(predict(tokens.numpy()) - exact).max() < 0.05 * abs(exact).max()  # int8 keeps two digits
    assert llama_result.after <= llama_result.before * 1.05
    assert (llama.output / "model" / "tokenizer.json").exists()
