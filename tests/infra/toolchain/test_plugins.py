import importlib.metadata
import tarfile
from dataclasses import replace

import pytest
from semver import Version

from infra.toolchain import plugins
from infra.toolchain.engine import Engine
from infra.toolchain.plugins import OVERRIDES, ensure_plugins, required
from tests.infra.toolchain.conftest import executable, served
from workloads.spec.errors import UserError

AWS, OPENSTACK = required(["aws", "openstack"])
CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def engine(real_engine, tmp_path):
    """The real engine with a home of its own, so that no plugin of the machine's is found."""
    home = tmp_path / "home"
    home.mkdir()
    return replace(real_engine, home=home, env={**real_engine.env, "PULUMI_HOME": str(home)})


def publish(folder, plugin):
    """What a provider's maker puts on a server: an archive that holds the provider's executable."""
    binary = executable(folder / f"pulumi-resource-{plugin.name}", "exit 0")
    with tarfile.open(folder / plugin.archive, "w:gz") as packed:
        packed.add(binary, binary.name)
    return folder / plugin.archive


def with_mirror(engine: Engine, address: str) -> Engine:
    return replace(engine, env={**engine.env, OVERRIDES: f".*={address}"})


def test_a_providers_plugin_has_the_version_of_its_sdk():
    assert AWS.version == Version.parse(importlib.metadata.version("pulumi-aws"))
    assert [plugin.name for plugin in required(["openstack", "aws", "openstack"])] == ["aws", "openstack"]


def test_a_provider_without_an_sdk_is_refused():
    with pytest.raises(UserError, match="'nosuch' has no SDK here; add pulumi-nosuch"):
        required(["nosuch"])


def test_plugins_come_from_a_mirror_once(engine, tmp_path):
    publish(tmp_path / "mirror", AWS)
    publish(tmp_path / "mirror", OPENSTACK)
    with served(tmp_path / "mirror") as address:
        ensure_plugins(with_mirror(engine, address), ["aws", "openstack"])
    assert AWS.is_installed(engine.home)
    assert OPENSTACK.is_installed(engine.home)
    ensure_plugins(with_mirror(engine, CLOSED), ["aws", "openstack"])


@pytest.mark.parametrize("given", ["archive", "folder", "environment"])
def test_a_plugin_comes_from_a_file_that_the_user_has(engine, tmp_path, monkeypatch, given):
    archive = publish(tmp_path / "files", AWS)
    if given == "environment":
        monkeypatch.setenv("ISTHMUS_PLUGINS", str(archive.parent))
    file = {"archive": archive, "folder": archive.parent}.get(given)
    ensure_plugins(with_mirror(engine, CLOSED), ["aws"], file)
    assert AWS.is_installed(engine.home)


def test_a_file_of_another_plugin_is_refused_with_the_name_that_is_needed(engine, tmp_path):
    archive = publish(tmp_path, OPENSTACK)
    with pytest.raises(UserError, match=f"is not the archive of plugin aws.*{AWS.archive}"):
        ensure_plugins(engine, ["aws"], archive)


def test_a_file_that_is_no_archive_is_refused_and_nothing_is_left(engine, tmp_path):
    broken = tmp_path / AWS.archive
    broken.write_text("<html>please log in</html>")
    with pytest.raises(UserError, match="could not be installed from") as refusal:
        ensure_plugins(engine, ["aws"], broken)
    assert "\n" not in str(refusal.value)
    assert not AWS.is_installed(engine.home)


def test_where_no_source_is_reachable_the_line_names_source_cause_and_remedies(engine):
    with pytest.raises(UserError) as refusal:
        ensure_plugins(with_mirror(engine, CLOSED), ["aws"])
    line = str(refusal.value)
    assert "\n" not in line
    for part in (str(AWS), CLOSED, "connection refused", OVERRIDES, AWS.archive, plugins.ARCHIVES):
        assert part in line


@pytest.mark.parametrize("value", ["https://mirror.example", ".*=", "a=b,", "a=b=c"])
def test_overrides_that_would_make_the_engine_panic_are_refused_before(engine, value):
    broken = replace(engine, env={**engine.env, OVERRIDES: value})
    with pytest.raises(UserError, match="REGEXP=URL"):
        ensure_plugins(broken, ["aws"])


def test_a_plugin_that_the_engine_was_interrupted_at_counts_as_missing(tmp_path):
    folder = tmp_path / "plugins" / f"resource-aws-v{AWS.version}"
    executable(folder / "pulumi-resource-aws", "exit 0")
    assert AWS.is_installed(tmp_path)
    folder.with_name(f"{folder.name}.partial").touch()
    assert not AWS.is_installed(tmp_path)
