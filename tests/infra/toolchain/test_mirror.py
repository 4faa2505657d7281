import shutil

import pytest

from infra.toolchain.mirror import build
from infra.toolchain.release import UnavailableError
from infra.toolchain.version import ENGINE_VERSION
from tests.infra.toolchain.conftest import executable


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Makes a `go` on PATH out of a shell script."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'go'}:/usr/bin:/bin")
    return lambda script: executable(tmp_path / "go" / "go", script)


@pytest.fixture
def into(tmp_path):
    return tmp_path / "bin.new"


def test_without_go_the_build_says_so(into, console, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"^Go is not on PATH$"):
        build.build(ENGINE_VERSION, into, console)


def test_a_go_that_is_too_old_is_named_with_the_limit(go, into, console):
    path = go("echo go1.18.1")
    with pytest.raises(UnavailableError, match=rf"^Go 1\.18\.1 at {path} is older than {build.oldest_go()}$"):
        build.build(ENGINE_VERSION, into, console)
    assert not into.exists()


def test_a_go_that_may_not_fetch_a_newer_one_is_quoted(go, into, console):
    go("echo 'go: go.mod requires go >= 9 (running go 1.24)' >&2; exit 1")
    with pytest.raises(UnavailableError, match="requires go >= 9"):
        build.build(ENGINE_VERSION, into, console)


GO = """
case "$1 $2" in
"env GOVERSION") echo go99.1 ;;
"mod download") echo '{"Dir": "SDK"}' ;;
*) BUILD ;;
esac
"""


def test_progress_counts_what_is_fetched_and_compiled_and_the_host_gets_its_runner(go, into, tmp_path, console):
    runner = tmp_path / "sdk/python/cmd/pulumi-language-python-exec"
    runner.parent.mkdir(parents=True)
    runner.write_text("print()")
    go(GO.replace("SDK", str(tmp_path / "sdk")).replace("BUILD", "exit 0"))
    build.build(ENGINE_VERSION, into, console)
    assert (into / runner.name).stat().st_mode & 0o111
    said = []
    build._follow(["go: downloading example.com/m v1.0.0\n", "internal/cpu\n", "example.com/m/a\n"], said.append)
    assert said[-1] == "2 packages compiled, 1 modules fetched"


def test_a_build_that_fails_gives_the_compilers_own_words(go, into, console):
    go(GO.replace("BUILD", "echo internal/cpu >&2; echo 'm@v1: Get proxy: dial tcp: refused' >&2; exit 1"))
    with pytest.raises(UnavailableError, match=r"^go build: m@v1: Get proxy: dial tcp: refused$"):
        build.build(ENGINE_VERSION, into, console)


def test_the_key_changes_with_the_sources_and_with_nothing_else(tmp_path, monkeypatch):
    before = build.key()
    shutil.copytree(build.SOURCES, tmp_path / "mirror")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "mirror")
    (tmp_path / "mirror/notes.txt").touch()
    assert build.key() == before
    with (tmp_path / "mirror/go.mod").open("a") as module:
        module.write("// another\n")
    assert build.key() != before
