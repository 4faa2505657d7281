"""The hand-over: what the program renders is what the trainer, the registry and the server really accept."""

import json
import urllib.request

import pytest

from tests.kit.program import RunningMocks, run_program, stack_config
from tests.kit.stack import free_base_port
from workloads.spec.artifact import MANIFEST, ArtifactManifest, RegisterResult
from workloads.spec.launch import LaunchSpec, RegisterLaunch


@pytest.fixture
def running():
    mocks = RunningMocks()
    yield mocks
    mocks.destroy()


def test_what_the_program_renders_trains_compresses_registers_and_serves(tmp_path, running):
    config = stack_config("local")
    config["isthmus:local"] = {"folder": str(tmp_path / "local"), "base_port": free_base_port()}
    program = run_program(config, mocks=running)

    launch = LaunchSpec.model_validate(program.one("isthmus:local:TrainingRun").inputs["launch"])
    trained = ArtifactManifest.load(launch.output / "trained" / MANIFEST)
    assert trained.recipe_digest == launch.recipe.digest()
    assert trained.data_digests == {site.name: site.data_digest for site in launch.sites}

    registration = RegisterLaunch.model_validate(program.one("isthmus:local:ModelVersion").inputs["launch"])
    compressed = ArtifactManifest.load(registration.model / MANIFEST)
    assert compressed.parents == (trained.digest(),)
    assert compressed.metrics["accuracy"] >= 0.93
    version = RegisterResult.load(registration.output / "result.json").version

    for endpoint in program.exports["endpoints"].values():
        with urllib.request.urlopen(f"{endpoint}/v2/models/iris", timeout=10) as answer:
            assert version in json.load(answer)["versions"]
