from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.workloads.fusion.models import IRIS, SITES, learn, write_model
from workloads.spec.launch import ShardLaunch
from workloads.trainer.model import WEIGHTS, build_model
from workloads.trainer.shard import make_shard


@pytest.fixture(scope="package")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shards")
    for site in SITES:
        make_shard(ShardLaunch(recipe=IRIS, site=site, sites=SITES, folder=folder / site))
    return {site: folder / site for site in SITES}


@pytest.fixture(scope="package")
def trained(shards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each site that began alike, `spoiled`, and `base`, which all of them began as."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(1)
    start = build_model(IRIS).state_dict()
    for name in SITES:
        model = build_model(IRIS)
        model.load_state_dict(start)
        learn(model, shards[name])
        write_model(folder / name, model, shards)
    spoiled = build_model(IRIS)
    spoiled.load_state_dict({name: -10 * tensor for name, tensor in load_file(folder / "aws-1" / WEIGHTS).items()})
    write_model(folder / "spoiled", spoiled, shards)
    base = build_model(IRIS)
    base.load_state_dict(start)
    write_model(folder / "base", base, shards)
    return {path.name: path for path in folder.iterdir()}
