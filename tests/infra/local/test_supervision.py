"""Processes: services outlive their starter, jobs never do, strangers are never touched."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.local import supervision
from infra.settings import ROOT
from workloads.spec.errors import UserError

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


async def log_says(folder: Path, word: str) -> bool:
    return word in (folder / supervision.LOG).read_text()


def start(folder: Path, argv: list[str] = SLEEPER, word: str = "up", limit_s: float = 30.0) -> int:
    return asyncio.run(supervision.start_service(folder, argv, lambda: log_says(folder, word), limit_s=limit_s))


def test_a_service_is_found_again_by_its_folder_and_stops_for_good(tmp_path):
    pid = start(tmp_path / "a")
    assert supervision.find(tmp_path / "a").pid == pid
    asyncio.run(supervision.stop_service(tmp_path / "a"))
    assert supervision.find(tmp_path / "a") is None
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_starting_again_replaces_the_running_process(tmp_path):
    first, second = start(tmp_path / "a"), start(tmp_path / "a")
    try:
        assert first != second
        assert supervision.find(tmp_path / "a").pid == second
    finally:
        asyncio.run(supervision.stop_service(tmp_path / "a"))


def test_a_service_that_ends_is_reported_with_its_own_words(tmp_path):
    argv = [sys.executable, "-c", "print('error: the port 7 is taken; choose another'); raise SystemExit(2)"]
    with pytest.raises(UserError, match="a ended with status 2: the port 7 is taken; choose another"):
        start(tmp_path / "a", argv)


def test_a_service_that_is_never_ready_is_stopped(tmp_path):
    with pytest.raises(UserError, match="not ready within 0.5 s: up"):
        start(tmp_path / "a", word="never said", limit_s=0.5)
    assert supervision.find(tmp_path / "a") is None


def test_a_pid_that_belongs_to_somebody_else_now_is_left_alone(tmp_path):
    stranger = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    try:
        record = supervision.ProcessRecord(pid=stranger.pid, created=1.0, argv=("x",))
        record.save(tmp_path / supervision.RECORD)
        asyncio.run(supervision.stop_service(tmp_path))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_children_get_no_secrets(monkeypatch):
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert "hush" not in supervision.child_environment().values()


def test_a_job_gives_its_lines_and_its_status(tmp_path):
    lines: list[str] = []
    argv = [sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"]
    assert asyncio.run(supervision.run_job(tmp_path, argv, lines.append)) == 3
    assert lines == ["one", "two"]
    assert (tmp_path / supervision.LOG).read_text() == "one\ntwo\n"


FAMILY = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)\n"
)


def gone(pid: int) -> bool:
    try:
        psutil.Process(pid).wait(timeout=20)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_a_cancelled_job_leaves_no_descendant(tmp_path):
    pids: list[int] = []

    async def cancel_when_it_runs() -> None:
        started = asyncio.Event()

        def on_line(line: str) -> None:
            pids.append(int(line))
            started.set()

        job = asyncio.ensure_future(supervision.run_job(tmp_path, [sys.executable, "-c", FAMILY], on_line))
        await asyncio.wait_for(started.wait(), 30)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(cancel_when_it_runs())
    assert gone(pids[0])


def test_a_job_dies_with_a_starter_that_was_killed(tmp_path):
    starter = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from infra.local.supervision import run_job\n"
        f"asyncio.run(run_job(Path({str(tmp_path)!r}), [sys.executable, '-c', {FAMILY!r}], lambda l: print(l, flush=True)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True, env=environment)
    with process:
        grandchild = int(process.stdout.readline())
        leash = supervision.find(tmp_path).pid
        process.kill()
    assert gone(grandchild)
    assert gone(leash)
