"""Whole models through the commands: streamed, judged, and with their parents."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.kit.processes import run_module
from tests.workloads.fusion.models import IRIS, SITES, launch, quiet, seal, write_model
from workloads.fusion.fisher import estimate
from workloads.fusion.fusing import fuse
from workloads.fusion.tensor_files import TensorFiles, shapes_of, write_tensors
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.launch import FisherLaunch, FuseSource, ShardLaunch
from workloads.spec.recipe import load_recipe
from workloads.trainer.evaluation import score
from workloads.trainer.model import WEIGHTS, build_model, load_model, predictor
from workloads.trainer.shard import make_shard


def test_the_command_writes_a_model_with_its_parents_and_its_quality(
    trained: dict[str, Path], shards: dict[str, Path], tmp_path: Path
) -> None:
    sources = [{"model": trained["aws-1"], "samples": 30}, {"model": trained["os-1"], "samples": 10}]
    launch(tmp_path, sources=sources, shards=shards).save(tmp_path / "spec.json")

    ended = run_module("workloads.fusion", tmp_path / "spec.json")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "4 of 4 tensors" in ended.stdout
    folder = tmp_path / "fused" / "model"
    manifest = ArtifactManifest.load(folder / MANIFEST)
    manifest.verify(folder)
    assert manifest.kind == "fused"
    assert manifest.parents == tuple(ArtifactManifest.load(trained[site] / MANIFEST).digest() for site in SITES)
    assert manifest.metrics["accuracy"] > manifest.metrics["majority_accuracy"]
    ours, theirs = (load_file(trained[site] / WEIGHTS) for site in SITES)
    for name, tensor in load_model(folder)[0].state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * ours[name] + 0.25 * theirs[name])


def test_a_soup_refuses_the_spoiled_model(trained: dict[str, Path], shards: dict[str, Path], tmp_path: Path) -> None:
    said: list[str] = []
    spec = launch(tmp_path, trained["spoiled"], trained["aws-1"], trained["os-1"], method="greedy-soup", shards=shards)

    manifest = fuse(spec, said.append)

    assert ArtifactManifest.load(trained["spoiled"] / MANIFEST).digest() not in manifest.parents
    best = max(float(line.split()[-1]) for line in said if "accuracy" in line and "+" not in line)
    assert manifest.metrics["accuracy"] >= best - 1e-4
    assert any("of 3 models" in line for line in said)


def test_fisher_leans_towards_the_model_that_is_sure(
    trained: dict[str, Path], shards: dict[str, Path], tmp_path: Path
) -> None:
    fishers = {}
    for site in SITES:
        fishers[site] = tmp_path / f"{site}.safetensors"
        estimate(FisherLaunch(model=trained[site], shard=shards[site], output=fishers[site]))
    sources = [FuseSource(model=trained[site], fisher=fishers[site]) for site in SITES]

    fuse(launch(tmp_path, method="fisher", sources=sources), quiet)

    merged = load_file(tmp_path / "fused" / "model" / WEIGHTS)["hidden.weight"]
    ours, theirs = (load_file(trained[site] / WEIGHTS)["hidden.weight"] for site in SITES)
    sure, unsure = (load_file(fishers[site])["hidden.weight"] for site in SITES)
    known = (sure + unsure) > 0
    expected = (sure * ours + unsure * theirs)[known] / (sure + unsure)[known]
    torch.testing.assert_close(merged[known], expected)


def test_ties_keeps_the_base_where_little_changed(trained: dict[str, Path], tmp_path: Path) -> None:
    spec = launch(tmp_path, trained["aws-1"], trained["os-1"], method="ties", base=trained["base"], density=0.2)

    fuse(spec, quiet)

    merged, base = load_file(tmp_path / "fused" / "model" / WEIGHTS), load_file(trained["base"] / WEIGHTS)
    kept = sum(int((merged[name] == base[name]).sum()) for name in base)
    # Each model keeps 17 of its 83 changes, so at most 34 elements move.
    assert 83 - 34 <= kept < 83 - 16


def test_a_file_written_by_parts_is_what_the_format_asks_for(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 4).to(torch.bfloat16),
        "b": torch.arange(5),
        "c": torch.tensor(2.5, dtype=torch.float64),
        "d": torch.zeros(0, 3),
    }

    write_tensors(tmp_path / "t.safetensors", shapes_of(tensors), tensors.items(), {"format": "pt"})

    read = load_file(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert TensorFiles(tmp_path).metadata == {"format": "pt"}


def test_a_model_in_several_files_becomes_one_in_one(trained: dict[str, Path], tmp_path: Path) -> None:
    parted = tmp_path / "parted"
    parted.mkdir()
    for path in trained["os-1"].iterdir():
        (parted / path.name).write_bytes(path.read_bytes())
    tensors = load_file(parted / WEIGHTS)
    (parted / WEIGHTS).unlink()
    for number, name in enumerate(tensors):
        save_file({name: tensors[name]}, parted / f"model-{number}.safetensors")
    seal(parted, IRIS)

    fuse(launch(tmp_path, parted, trained["aws-1"], weights=[1.0, 0.0]), quiet)

    merged = load_file(tmp_path / "fused" / "model" / WEIGHTS)
    assert all(torch.equal(merged[name], tensors[name]) for name in tensors)
    assert [path.name for path in (tmp_path / "fused" / "model").glob("*.safetensors")] == [WEIGHTS]


def test_language_models_with_tied_weights_are_fused_and_load_again(shards: dict[str, Path], tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    small = {f"model.config.{key}": value for key, value in {**sizes, "num_key_value_heads": 2}.items()}
    recipe = load_recipe("language", small)
    models = []
    for name in ("one", "two"):
        models.append(build_model(recipe).eval())
        write_model(tmp_path / name, models[-1], shards, recipe)

    manifest = fuse(launch(tmp_path, tmp_path / "one", tmp_path / "two"), quiet)

    fused, _ = load_model(tmp_path / "fused" / "model")
    ours, theirs = (model.state_dict() for model in models)
    for name, tensor in fused.state_dict().items():
        torch.testing.assert_close(tensor, (ours[name] + theirs[name]) / 2)
    assert manifest.files.keys() >= {"config.json", "tokenizer.json", WEIGHTS}


def test_models_whose_file_has_other_names_than_their_parameters_are_judged_and_weighed(tmp_path: Path) -> None:
    """A vision transformer's are such: the soup is judged as it will load, and Fisher information finds its tensors."""
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = load_recipe("vision", {f"model.config.{key}": value for key, value in sizes.items()})
    shards = {site: tmp_path / "shards" / site for site in SITES}
    for site, shard in shards.items():
        make_shard(ShardLaunch(recipe=recipe, site=site, sites=SITES, folder=shard))
    for name in SITES:
        write_model(tmp_path / name, build_model(recipe), shards, recipe)
    fishers = [
        FisherLaunch(model=tmp_path / name, shard=shards[name], samples=6, output=tmp_path / f"{name}.safetensors")
        for name in SITES
    ]
    for fisher in fishers:
        estimate(fisher)

    soup = fuse(launch(tmp_path, *(tmp_path / name for name in SITES), method="greedy-soup", shards=shards), quiet)

    judged, _ = load_model(tmp_path / "fused" / "model")
    assert score(recipe, predictor(judged, torch.device("cpu")), shards)["accuracy"] == soup.metrics["accuracy"]
    sources = [FuseSource(model=fisher.model, fisher=fisher.output) for fisher in fishers]
    fuse(launch(tmp_path, method="fisher", sources=sources), quiet)
    fused = load_file(tmp_path / "fused" / "model" / WEIGHTS)
    ours, theirs = (load_file(tmp_path / name / WEIGHTS) for name in SITES)
    sure, unsure = (load_file(fisher.output) for fisher in fishers)
    assert sure.keys() == ours.keys()
    for name in ("vit.encoder.layer.0.attention.attention.query.weight", "classifier.weight"):
        known = (sure[name] + unsure[name]) > 0
        expected = (sure[name] * ours[name] + unsure[name] * theirs[name])[known] / (sure[name] + unsure[name])[known]
        torch.testing.assert_close(fused[name][known], expected)


def test_the_fisher_command_writes_the_diagonal_of_one_model(
    trained: dict[str, Path], shards: dict[str, Path], tmp_path: Path
) -> None:
    spec = FisherLaunch(model=trained["aws-1"], shard=shards["aws-1"], samples=4, output=tmp_path / "f.safetensors")
    spec.save(tmp_path / "spec.json")

    ended = run_module("workloads.fusion.fisher", tmp_path / "spec.json")

    assert (ended.returncode, ended.stderr) == (0, "")
    diagonal = load_file(spec.output)
    assert {name: tensor.shape for name, tensor in diagonal.items()} == {
        name: tensor.shape for name, tensor in load_file(trained["aws-1"] / WEIGHTS).items()
    }
    assert all(bool((tensor >= 0).all()) for tensor in diagonal.values())
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []
