import hashlib
import importlib.metadata
import os
import tarfile

import pytest
from semver import Version

from infra.settings import ROOT
from infra.toolchain import plugins
from infra.toolchain.engine import Engine, ensure_engine, environment
from infra.toolchain.plugins import OVERRIDES, ensure_plugins, required
from tests.infra.toolchain.conftest import executable, served
from workloads.spec.errors import UserError

AWS, OPENSTACK = required(["aws", "openstack"])


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """The real engine, with a home of its own."""
    shared = os.environ.get("ISTHMUS_TEST_PULUMI_HOME", ROOT / ".state" / "pulumi")
    monkeypatch.setenv("ISTHMUS_PULUMI_HOME", str(shared))
    monkeypatch.setenv("ISTHMUS_ENGINE", "own")
    real = ensure_engine(ROOT / ".state", ways=())
    home = tmp_path / "home"
    home.mkdir()
    return Engine(real.path, real.version, home, {**environment(home, real.path)})


def archive(folder, plugin):
    """What a provider's maker publishes: an archive with the provider's executable."""
    binary = executable(folder / f"pulumi-resource-{plugin.name}", "exit 0")
    with tarfile.open(folder / plugin.archive, "w:gz") as packed:
        packed.add(binary, binary.name)
    return folder / plugin.archive


def with_mirror(engine, address):
    return Engine(engine.path, engine.version, engine.home, {**engine.env, OVERRIDES: f".*={address}"})


def test_a_providers_plugin_has_the_version_of_its_sdk():
    assert AWS.version == Version.parse(importlib.metadata.version("pulumi-aws"))
    assert [plugin.name for plugin in required({"openstack", "kubernetes", "aws"})] == ["aws", "kubernetes", "openstack"]


def test_a_provider_without_an_sdk_is_refused():
    with pytest.raises(UserError, match="'azure-native'.*pulumi-azure-native"):
        required(["azure-native"])
