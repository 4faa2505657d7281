"""Processes of the local stack: services that outlive the engine, jobs that must not.

A process is known by its pid and its start time, so that a pid that was given to somebody else is never touched.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

from infra.settings import ROOT
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError

RECORD = "process.json"
LOG = "log"
ERROR_PREFIX = "error: "
STOP_GRACE_S = 10.0

# A child gets what a program needs to run and nothing else: no passphrase, no cloud credential.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "SSL_CERT_FILE")


# Services are children until this process ends, and somebody must take note of their end.
_children: list[subprocess.Popen[bytes]] = []


class ProcessRecord(Frozen):
    """`process.json`: which process a folder's service is."""

    pid: int
    created: float  # as the operating system tells it, seconds
    argv: tuple[str, ...]


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a child: a short list of our own, one thread a library, and `extra`."""
    base = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    return {
        **base,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **(extra or {}),
    }


def find(folder: Path) -> psutil.Process | None:
    """The live process that `folder` records, if it still is that process."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = ProcessRecord.load(path)
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 0.01 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, UserError, json.JSONDecodeError):
        return None
    return process if same else None


def listening_ports(folder: Path) -> set[int]:
    """TCP ports on which the process that `folder` records, or one of its descendants, listens."""
    process = find(folder)
    if process is None:
        return set()
    try:
        family = [process, *process.children(recursive=True)]
        connections = [connection for member in family for connection in member.net_connections(kind="tcp")]
    except psutil.NoSuchProcess:  # it ended while it was looked at
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


async def start_service(
    folder: Path,
    argv: Sequence[str],
    ready: Callable[[], Awaitable[bool]],
    *,
    environment: Mapping[str, str] | None = None,
    limit_s: float = 120.0,
) -> int:
    """Start a process that lives on after the engine has gone; returns its pid once `ready`.

    One that `folder` still records is stopped first. Raises `UserError` with the last thing the process said if it
    ends or is not ready within `limit_s` seconds, and leaves nothing running.
    """
    await stop_service(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=child_environment(environment),
            start_new_session=True,
        )
    _children.append(process)
    _record(folder, process.pid, argv)
    deadline = asyncio.get_running_loop().time() + limit_s
    try:
        while not await ready():
            late = asyncio.get_running_loop().time() > deadline
            if late or process.poll() is not None:
                what = f"was not ready within {limit_s:g} s" if late else f"ended with status {process.returncode}"
                raise UserError(f"{folder.name} {what}: {last_words(log)}")  # noqa: TRY301 - what started must be stopped
            await asyncio.sleep(0.1)
    except BaseException:
        await stop_service(folder)
        raise
    return process.pid


async def stop_service(folder: Path) -> None:
    """End the process that `folder` records, with all it started. One that is gone already is no error."""
    process = find(folder)
    if process is not None:
        await asyncio.to_thread(stop_tree, process)
    (folder / RECORD).unlink(missing_ok=True)
    _children[:] = [child for child in _children if child.poll() is None]


def stop_tree(process: psutil.Process, grace_s: float = STOP_GRACE_S) -> None:
    """Ask a process and its descendants to end, and after `grace_s` seconds end them."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    _signal([process], psutil.Process.terminate)
    psutil.wait_procs([process], timeout=grace_s)  # a parent that ends in good order ends its own children first
    _signal(family, psutil.Process.terminate)
    _, alive = psutil.wait_procs(family, timeout=2.0)
    _signal(alive, psutil.Process.kill)
    psutil.wait_procs(alive, timeout=5.0)


async def run_job(
    folder: Path,
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command to its end and give its exit status. It never outlives this process, nor being cancelled.

    Every line goes to `on_line` and to `folder/log`, which is continued and not started anew, since a job that was
    cut off carries on. What an earlier engine may have left of the same job is ended first.
    """
    await stop_service(folder)
    folder.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infra.local.leash",
        *argv,
        stdin=asyncio.subprocess.PIPE,  # held open: when it closes, the leash ends the job
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=child_environment(environment),
        start_new_session=True,
        limit=1 << 20,
    )
    _record(folder, process.pid, argv)
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        with (folder / LOG).open("ab") as log:
            async for line in process.stdout:
                log.write(line)
                log.flush()
                on_line(line.decode(errors="replace").rstrip())
        return await process.wait()
    finally:
        if process.returncode is None:
            await asyncio.shield(asyncio.to_thread(stop_tree, psutil.Process(process.pid), 2 * STOP_GRACE_S))
            await process.wait()
        (folder / RECORD).unlink(missing_ok=True)


def last_words(log: Path) -> str:
    """What a process said last: its `error:` line if there is one, else the last line that is not empty."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    return (told or lines or ["it said nothing"])[-1]


def _record(folder: Path, pid: int, argv: Sequence[str]) -> None:
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it ended at once; whoever waits for it will say so
        return
    ProcessRecord(pid=pid, created=created, argv=tuple(argv)).save(folder / RECORD)


def _signal(processes: Sequence[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            action(process)
        except psutil.NoSuchProcess:
            continue
