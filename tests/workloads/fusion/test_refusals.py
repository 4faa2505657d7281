"""What cannot be fused is told in one line, and what was there stays."""

from pathlib import Path

import pytest
import torch

from tests.workloads.fusion.models import SITES, changed, launch, quiet, refusal, seal, write_model
from workloads.fusion.fisher import estimate
from workloads.fusion.fusing import fuse
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.errors import UserError
from workloads.spec.launch import FisherLaunch, FuseSource
from workloads.spec.recipe import load_recipe
from workloads.trainer.model import WEIGHTS, build_model


def test_another_architecture_is_refused(trained: dict[str, Path], shards: dict[str, Path], tmp_path: Path) -> None:
    wider = load_recipe("iris", {"model.hidden": 12})
    write_model(tmp_path / "wider", build_model(wider), shards, wider)

    assert "hidden is 12, not 10" in refusal(launch(tmp_path, trained["aws-1"], tmp_path / "wider"), tmp_path)


def test_a_missing_tensor_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    poorer = changed(trained["os-1"], tmp_path / "poorer", lambda tensors: tensors.pop("output.bias"))

    with pytest.raises(UserError, match=r"poorer has no tensor output\.bias"):
        fuse(launch(tmp_path, trained["aws-1"], poorer), quiet)


def test_another_precision_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    def halve(tensors: dict[str, torch.Tensor]) -> None:
        tensors["output.bias"] = tensors["output.bias"].half()

    with pytest.raises(UserError, match=r"output\.bias is F16 \[3\].* F32 \[3\]"):
        fuse(launch(tmp_path, trained["aws-1"], changed(trained["os-1"], tmp_path / "half", halve)), quiet)


def test_a_model_with_nan_is_refused_and_what_was_there_stays(trained: dict[str, Path], tmp_path: Path) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["output.bias"][1] = float("nan")

    fuse(launch(tmp_path, trained["aws-1"], trained["os-1"]), quiet)
    poisoned = changed(trained["os-1"], tmp_path / "poisoned", poison)

    with pytest.raises(UserError, match=r"poisoned.*output\.bias has elements that are not finite"):
        fuse(launch(tmp_path, trained["aws-1"], poisoned), quiet)
    ArtifactManifest.load(tmp_path / "fused" / "model" / MANIFEST).verify(tmp_path / "fused" / "model")
    assert [path.name for path in (tmp_path / "fused").iterdir()] == ["model"]


def test_a_changed_model_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    tampered = changed(trained["os-1"], tmp_path / "tampered", lambda _tensors: None)
    weights = tampered / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")

    with pytest.raises(UserError, match="was changed"):
        fuse(launch(tmp_path, trained["aws-1"], tampered), quiet)


def test_other_data_of_the_same_site_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    models = [changed(trained[site], tmp_path / site, lambda _tensors: None) for site in SITES]
    for model, digit in zip(models, "ab", strict=True):
        seal(model, data={"aws-1": 64 * digit})

    with pytest.raises(UserError, match="learned from other data of site aws-1"):
        fuse(launch(tmp_path, *models), quiet)


def test_fisher_information_of_another_model_is_refused(
    trained: dict[str, Path], shards: dict[str, Path], tmp_path: Path
) -> None:
    estimate(FisherLaunch(model=trained["aws-1"], shard=shards["aws-1"], output=tmp_path / "f.safetensors"))
    sources = [FuseSource(model=trained[site], fisher=tmp_path / "f.safetensors") for site in SITES]

    with pytest.raises(UserError, match="of another model than .*os-1"):
        fuse(launch(tmp_path, method="fisher", sources=sources), quiet)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights": [0.5, 0.4]}, "weights sum up to 0.9, not 1"),
        ({"weights": [1.0]}, "1 weights for 2 sources"),
        ({"method": "ties"}, "ties, and it alone, needs base"),
        ({"method": "fisher"}, "fisher needs the Fisher information of every source"),
        ({"method": "greedy-soup"}, "greedy-soup needs shards"),
        ({"method": "greedy-soup", "weights": [0.5, 0.5]}, "greedy-soup knows no weights"),
        ({"sources": [{"model": "a", "samples": 3}, {"model": "b"}]}, "samples are given for some sources only"),
        ({"sources": [{"model": "a"}]}, "at least 2 items"),
    ],
)
def test_a_launch_that_makes_no_sense_is_refused(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        launch(tmp_path, Path("a"), Path("b"), **changes)
