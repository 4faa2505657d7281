"""Environments of the clouds' stand-ins hold what their lock files say."""

import subprocess

import pytest

from tests.lab.daemons import LabError
from tests.lab.environments import install


def test_an_environment_is_made_once_and_again_when_its_lock_changes(tmp_path):
    lock, environment = tmp_path / "requirements.txt", tmp_path / "cloud/venv"
    lock.write_text("# nothing yet\n", encoding="utf-8")
    install(lock, environment)
    assert subprocess.run([environment / "bin/python", "-c", ""], check=False).returncode == 0
    (environment / "bin/python").unlink()
    install(lock, environment)  # it is as the lock says, and is not looked into
    assert not (environment / "bin/python").exists()
    lock.write_text("# nothing still\n", encoding="utf-8")
    install(lock, environment)
    assert (environment / "bin/python").exists()


def test_a_package_without_its_hash_is_refused_and_tried_again_the_next_time(tmp_path):
    lock, environment = tmp_path / "requirements.txt", tmp_path / "venv"
    lock.write_text("example==1\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(LabError, match="uv pip: .*hash"):
            install(lock, environment)
