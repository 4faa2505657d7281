"""Small finished models on disk, and launches that fuse them."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.kit.processes import run_module
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.launch import FuseLaunch
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer.model import WEIGHTS, logits, save_model
from workloads.trainer.shard_files import read_part

SITES = ("aws-1", "os-1")
IRIS = load_recipe("iris")


def learn(model: torch.nn.Module, shard: Path) -> None:
    part = read_part(shard, "train")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            logits(model, torch.from_numpy(part["features"])), torch.from_numpy(part["labels"])
        )
        loss.backward()
        optimizer.step()


def write_model(
    folder: Path, model: torch.nn.Module, shards: dict[str, Path], recipe: Recipe = IRIS
) -> ArtifactManifest:
    folder.mkdir(parents=True)
    save_model(model, recipe, folder, shards["aws-1"])
    return seal(folder, recipe)


def seal(folder: Path, recipe: Recipe = IRIS, data: dict[str, str] | None = None) -> ArtifactManifest:
    """Write the manifest of what lies in `folder`."""
    manifest = ArtifactManifest(
        kind="trained",
        run_id=folder.name,
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        data_digests=data or {},
        code_version="0.1.0+abc",
        metrics={},
        parameters=83,
        files=ArtifactManifest.of_files(folder),
    )
    manifest.save(folder / MANIFEST)
    return manifest


def launch(folder: Path, *models: Path, **changes: object) -> FuseLaunch:
    fields = {"run_id": "fused-1", "sources": [{"model": model} for model in models], "method": "weighted"}
    return FuseLaunch.model_validate({**fields, "output": folder / "fused"} | changes)


def quiet(_line: str) -> None:
    """For a fusion whose progress nobody watches."""


def refusal(spec: FuseLaunch, folder: Path) -> str:
    """What the command says when it refuses."""
    spec.save(folder / "spec.json")
    ended = run_module("workloads.fusion", folder / "spec.json")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert not (spec.output / "model").exists()
    return ended.stderr


def changed(source: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a model with other tensors and a manifest that fits them."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(source / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    seal(folder)
    return folder
