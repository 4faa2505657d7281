import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from infra.toolchain.locks import clear_stale_locks
from workloads.spec.errors import UserError


@pytest.fixture
def lock(tmp_path):
    """Writes a lock as the engine does: the lock itself and the backend's attributes beside it."""

    def write(pid, *, stack="local", host=None, since=None):
        since = since or datetime.now(UTC)
        path = tmp_path / ".pulumi/locks/organization/isthmus" / stack / f"{pid}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        timestamp = since.strftime("%Y-%m-%dT%H:%M:%S.%f") + "585Z"
        lock = {"pid": pid, "username": "root", "hostname": host or socket.gethostname(), "timestamp": timestamp}
        path.write_text(json.dumps(lock))
        path.with_name(f"{path.name}.attrs").write_text("{}")
        return path

    return write


@pytest.fixture
def dead():
    """A pid that was alive a moment ago."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_lock_of_a_dead_engine_goes_with_its_attributes(tmp_path, lock, dead):
    path = lock(dead)
    assert [holder.pid for holder in clear_stale_locks(tmp_path)] == [dead]
    assert list(path.parent.iterdir()) == []


def test_the_lock_of_a_living_engine_stays_and_its_holder_is_named(tmp_path, lock):
    path = lock(os.getpid())
    with pytest.raises(UserError, match=f"stack local is locked by pulumi process {os.getpid()}"):
        clear_stale_locks(tmp_path)
    assert path.is_file()


def test_a_process_that_has_inherited_the_pid_is_not_the_holder(tmp_path, lock):
    lock(os.getpid(), since=datetime.now(UTC) - timedelta(days=400))
    assert len(clear_stale_locks(tmp_path)) == 1


def test_an_engine_on_another_host_is_taken_to_live(tmp_path, lock, dead):
    lock(dead, host="elsewhere")
    with pytest.raises(UserError, match="elsewhere"):
        clear_stale_locks(tmp_path)


def test_other_stacks_are_left_alone_when_one_is_named(tmp_path, lock, dead):
    lock(os.getpid(), stack="dev")
    lock(dead)
    assert [holder.stack for holder in clear_stale_locks(tmp_path, "local")] == ["local"]


def test_a_lock_that_a_kill_has_cut_short_goes(tmp_path, lock, dead):
    path = lock(dead)
    path.write_text('{"pid": 12')
    assert clear_stale_locks(tmp_path) == ()
    assert not path.exists()


def test_a_backend_without_locks_is_no_mistake(tmp_path):
    assert clear_stale_locks(tmp_path) == ()
