import fcntl
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.settings import ROOT
from infra.toolchain.engine import ensure_engine
from infra.toolchain.mirror import build
from infra.toolchain.release import UnavailableError
from infra.toolchain.version import ENGINE_VERSION
from tests.infra.toolchain.conftest import executable, pulumi
from tests.kit.stack import eventually
from workloads.spec.errors import UserError


def installs(version, into, console):
    pulumi(into, f"v{version}")


def unavailable(reason):
    def way(version, into, console):
        raise UnavailableError(reason)

    return way


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A folder that is first on PATH."""
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_a_fitting_engine_on_path_is_used_and_nothing_is_installed(tmp_path, system, console):
    there = pulumi(system, "v3.272.0")
    engine = ensure_engine(tmp_path / "state", console, ways=())
    assert (engine.path, str(engine.version)) == (there, "3.272.0")
    assert not (tmp_path / "state/pulumi/bin").exists()


def test_an_engine_on_path_that_is_too_old_is_refused_in_one_line(tmp_path, system, console):
    pulumi(system, "v3.100.0")
    with pytest.raises(UserError) as refusal:
        ensure_engine(tmp_path / "state", console, ways=(installs,))
    assert all(part in str(refusal.value) for part in ("3.100.0", str(system), str(ENGINE_VERSION), "ENGINE=own"))
    assert "\n" not in str(refusal.value)


def test_an_engine_on_path_without_its_python_host_is_refused(tmp_path, system, console):
    pulumi(system, "v3.272.0", language_host=False)
    with pytest.raises(UserError, match="pulumi-language-python"):
        ensure_engine(tmp_path / "state", console, ways=(installs,))


def test_the_user_may_ask_for_an_engine_of_the_projects_own(tmp_path, system, console, monkeypatch):
    pulumi(system, "v3.100.0")
    monkeypatch.setenv("ISTHMUS_ENGINE", "own")
    engine = ensure_engine(tmp_path / "state", console, ways=(installs,))
    assert engine.path == tmp_path / "state/pulumi/bin/pulumi"


def test_another_choice_of_engine_is_refused_with_the_ones_there_are(tmp_path, console, monkeypatch):
    monkeypatch.setenv("ISTHMUS_ENGINE", "mine")
    with pytest.raises(UserError, match=r"'mine'.*own"):
        ensure_engine(tmp_path, console)


def test_the_ways_are_tried_in_order_and_the_first_that_is_open_is_taken(tmp_path, console):
    tried = []

    def way(name, then):
        def attempt(version, into, console):
            tried.append(name)
            then(version, into, console)

        return attempt

    ways = (way("release", unavailable("no route")), way("build", installs), way("never", installs))
    engine = ensure_engine(tmp_path, console, ways)
    assert tried == ["release", "build"]
    assert engine.version == ENGINE_VERSION


def test_without_any_way_one_line_says_what_was_tried_and_the_remedies(tmp_path, console):
    ways = (unavailable("releases.example: no route to host"), unavailable("Go is not on PATH"))
    with pytest.raises(UserError) as refusal:
        ensure_engine(tmp_path, console, ways)
    line = str(refusal.value)
    assert "\n" not in line
    assert "releases.example: no route to host; Go is not on PATH" in line
    assert f"install Go {build.oldest_go()} or newer" in line
    assert not (tmp_path / "pulumi/bin").exists()


def test_an_installed_engine_is_not_installed_again(tmp_path, console):
    first = ensure_engine(tmp_path, console, (installs,))
    assert ensure_engine(tmp_path, console, ways=()).path == first.path


def test_an_engine_of_other_sources_is_replaced(tmp_path, console):
    ensure_engine(tmp_path, console, (installs,))
    (tmp_path / "pulumi/bin/engine.json").write_text('{"version": "3.1.0", "sources": "x"}')
    (tmp_path / "pulumi/bin/left-over").touch()
    ensure_engine(tmp_path, console, (installs,))
    assert sorted(path.name for path in (tmp_path / "pulumi").iterdir()) == ["bin", "install.lock"]
    assert not (tmp_path / "pulumi/bin/left-over").exists()


def test_several_state_folders_may_share_one_engine(tmp_path, console, monkeypatch):
    monkeypatch.setenv("ISTHMUS_PULUMI_HOME", str(tmp_path / "shared"))
    engine = ensure_engine(tmp_path / "state", console, (installs,))
    assert engine.home == tmp_path / "shared"
    assert engine.path.is_relative_to(engine.home)


def _install_for_ever(state, begun):
    def way(version, into, console):
        pulumi(into, f"v{version}")
        begun.set()
        signal.pause()

    ensure_engine(state, ways=(way,))


def test_an_installer_that_was_killed_leaves_no_engine_and_no_lock(tmp_path, console):
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    installer = context.Process(target=_install_for_ever, args=(tmp_path, begun))
    installer.start()
    assert begun.wait(30)
    installer.kill()
    installer.join()
    assert not (tmp_path / "pulumi/bin").exists()
    assert ensure_engine(tmp_path, console, (installs,)).version == ENGINE_VERSION


def test_a_second_command_waits_for_the_first_and_uses_its_engine(tmp_path, console):
    home = tmp_path / "pulumi"
    home.mkdir()
    found = []
    waiter = threading.Thread(target=lambda: found.append(ensure_engine(tmp_path, console, ways=())))
    with (home / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiter.start()
        eventually(lambda: "waiting for another command" in console.file.getvalue())
        made = ensure_engine(tmp_path / "elsewhere", console, (installs,))
        shutil.copytree(made.path.parent, home / "bin")
    waiter.join()
    assert found[0].path == home / "bin/pulumi"


def test_an_installed_engine_that_does_not_start_here_is_refused_and_not_kept(tmp_path, console):
    def way(version, into, console):
        executable(into / "pulumi", "exit 126")

    with pytest.raises(UserError, match="does not say its version"):
        ensure_engine(tmp_path, console, (way,))
    assert not (tmp_path / "pulumi/bin").exists()


@pytest.mark.parametrize("on_path", [True, False])
def test_an_engine_keeps_to_the_projects_home_interpreter_and_off_the_network(tmp_path, system, console, on_path):
    if on_path:
        pulumi(system, "v3.272.0")
    engine = ensure_engine(tmp_path / "state", console, (installs,))
    assert engine.env["PULUMI_HOME"] == str(tmp_path / "state/pulumi")
    assert engine.env["PULUMI_PYTHON_CMD"] == sys.executable
    for name in ("SKIP_UPDATE_CHECK", "DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "IGNORE_AMBIENT_PLUGINS"):
        assert engine.env[f"PULUMI_{name}"] == "true"
    assert engine.env["PULUMI_CREDENTIAL_STORE"] == "plaintext"
    assert shutil.which("python", path=engine.env["PATH"]) == str(Path(sys.executable).parent / "python")
    assert shutil.which("pulumi", path=engine.env["PATH"]) == str(engine.path)


def run_module(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "infra.toolchain", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_says_which_engine_there_is(tmp_path, system):
    there = pulumi(system, "v3.272.0")
    done = run_module(str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (0, f"engine: pulumi 3.272.0, {there}\n")


def test_the_command_refuses_an_engine_that_is_too_old_with_one_line(tmp_path, system):
    pulumi(system, "v3.100.0")
    done = run_module(str(tmp_path / "state"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: pulumi 3.100.0 at ")
    assert done.stderr.count("\n") == 1
