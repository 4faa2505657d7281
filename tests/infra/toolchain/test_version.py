import re
from pathlib import Path

import pytest
from semver import Version

from infra.toolchain.mirror import build
from infra.toolchain.version import ENGINE_VERSION, TOO_NEW, parse, require_fitting, version_of
from tests.infra.toolchain.conftest import executable
from workloads.spec.errors import UserError

HERE = Path("/opt/pulumi")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v3.259.0\n", Version(3, 259, 0)),
        ("3.260.1", Version(3, 260, 1)),
        ("v3.300.0-alpha.x1234", Version(3, 300, 0, "alpha.x1234")),
    ],
)
def test_an_engines_answer_is_read_as_a_version(said, version):
    assert parse(said) == version


@pytest.mark.parametrize("version", [ENGINE_VERSION, Version(3, 272, 0), Version(3, 9999, 0)])
def test_an_engine_from_the_pinned_version_up_to_the_next_major_fits(version):
    require_fitting(version, HERE)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("3.258.9", "upgrade"), ("2.25.0", "upgrade"), ("3.259.0-dev.1", "upgrade"), ("4.0.0", "downgrade")],
)
def test_an_engine_that_does_not_fit_is_refused_with_value_limit_and_remedy(version, remedy):
    with pytest.raises(UserError) as refusal:
        require_fitting(Version.parse(version), HERE)
    line = str(refusal.value)
    assert "\n" not in line
    assert all(part in line for part in (version, str(HERE), str(ENGINE_VERSION), str(TOO_NEW), remedy, "ENGINE=own"))


@pytest.mark.parametrize("script", ["echo nonsense", "exit 3"])
def test_an_executable_that_names_no_version_is_refused_in_one_line(tmp_path, script):
    broken = executable(tmp_path / "pulumi", script)
    with pytest.raises(UserError, match=re.escape(str(broken))) as refusal:
        version_of(broken)
    assert "\n" not in str(refusal.value)


def test_the_module_that_is_built_has_the_pinned_version():
    module = (build.SOURCES / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{ENGINE_VERSION}\n" in module
    assert f"github.com/pulumi/pulumi/sdk/v3 v{ENGINE_VERSION}\n" in module
