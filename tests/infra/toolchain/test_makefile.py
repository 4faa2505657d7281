import os
import re
import shutil
import subprocess

import pytest

from infra.settings import ROOT
from tests.infra.toolchain.conftest import executable

TARGETS = {
    *("up", "preview", "review", "preflight", "plan", "watch", "refresh", "down", "diagram"),
    *(
        "test",
        "test-gateways",
        "test-openstack",
        "lab-up",
        "lab",
        "lab-down",
        "lint",
        "format",
        "bench",
        "lock",
        "clean",
        "help",
    ),
}


def make(folder, *arguments, **variables):
    """Run make in a folder that has the Makefile and the lock files of the project, and nothing else."""
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "locks", folder / "locks", dirs_exist_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    return subprocess.run(
        [shutil.which("make"), *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_make_alone_lists_every_target_with_a_line(tmp_path):
    done = make(tmp_path)
    assert done.returncode == 0
    lines = [re.fullmatch(r"make ([\w-]+) +(\S.*)", line) for line in done.stdout.splitlines()]
    assert all(lines)
    assert {line[1] for line in lines} == TARGETS


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('[ "$1" = -V ] && echo Python 3.10.4; exit 1', "Python 3.10.4 is older than 3.11"),
        ('case "$2" in *ensurepip*) exit 1 ;; esac', "has no venv module"),
    ],
)
def test_a_python_that_will_not_do_is_refused_with_one_line_and_a_remedy(tmp_path, script, says):
    python = executable(tmp_path / "python3", script)
    done = make(tmp_path, "up", f"PYTHON={python}")
    line, *from_make = done.stderr.splitlines()
    assert done.returncode == 2
    assert says in line
    assert "make PYTHON=" in line
    assert all(other.startswith("make: ***") for other in from_make)
    assert not (tmp_path / ".state").exists()


def test_a_machine_without_python_is_told_so(tmp_path):
    done = make(tmp_path, "up", "PYTHON=python-not-there")
    assert "python-not-there is not on PATH" in done.stderr
    assert not (tmp_path / ".state").exists()


def test_clean_of_a_tree_without_an_environment_needs_none(tmp_path):
    (tmp_path / ".state/local").mkdir(parents=True)
    assert make(tmp_path, "clean").returncode == 0
    assert not (tmp_path / ".state").exists()


def test_a_variable_of_the_environment_does_not_choose_for_the_user(tmp_path):
    """`STACK` and `ENGINE` are names that other tools use too; only `make STACK=…` and ISTHMUS_ENGINE count."""
    probe = ["--eval", "probe: ; @echo $(STACK) $${ISTHMUS_ENGINE:-none}", "probe"]
    others = {"STACK": "theirs", "ENGINE": "docker"}
    assert make(tmp_path, *probe, **others).stdout == "local none\n"
    assert make(tmp_path, *probe, ISTHMUS_ENGINE="own", **others).stdout == "local own\n"
    assert make(tmp_path, *probe, "STACK=dev", "ENGINE=own", **others).stdout == "dev own\n"
