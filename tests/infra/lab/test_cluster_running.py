"""What keeps the lab's processes, and what passes connections on, without a cluster."""

import asyncio
import os
import socket
import sys

import pytest

from tests.lab.cluster import relay
from tests.lab.daemons import Daemon, LabError, until

LIMIT_S = 20


@pytest.fixture
def daemon(tmp_path):
    made = []

    def start(script: str, name: str = "one") -> Daemon:
        made.append(Daemon(name, (sys.executable, "-c", script), tmp_path))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop(patience_s=0.1)


WAITS = "import signal; print('up', flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


def test_a_daemon_is_found_again_by_who_did_not_start_it(daemon, tmp_path):
    started = daemon(WAITS)
    found = Daemon("one", (), tmp_path)
    assert found.pid == started.pid
    found.stop()
    assert not started.alive()
    assert not started.record.exists()


def test_it_is_not_started_twice(daemon):
    daemon(WAITS)
    with pytest.raises(LabError, match=r"one runs already, as process \d+; stop it first"):
        daemon(WAITS)


def test_one_that_does_not_listen_is_killed_with_its_children(daemon):
    child = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {WAITS!r}]).pid, flush=True); {DEAF}"
    )
    started = daemon(child)
    until("its word", lambda: started.log_tail().count("up") == 2, LIMIT_S, started)
    grandchild = int(next(word for word in started.log_tail().split() if word.isdigit()))
    started.stop(patience_s=0.2)
    until("the child's end", lambda: not _runs(grandchild), LIMIT_S)


def test_another_process_with_the_same_number_is_left_alone(daemon, tmp_path):
    started = daemon(WAITS)
    pid, born = started.record.read_text(encoding="ascii").split()
    other = Daemon("other", (), tmp_path)
    other.record.write_text(f"{pid} {int(born) - 1}\n", encoding="ascii")
    assert not other.alive()
    other.stop()
    assert started.alive()


def test_its_end_before_it_is_ready_is_told_with_its_last_words(daemon):
    started = daemon("import sys; sys.exit('port 80 is taken')")
    with pytest.raises(LabError, match="(?s)the service: one ended.*port 80 is taken"):
        until("the service", lambda: False, LIMIT_S, started)


def test_a_wait_that_takes_too_long_is_told(daemon):
    started = daemon(WAITS)
    with pytest.raises(LabError, match=r"the service: not after 0\.1 s"):
        until("the service", lambda: False, 0.1, started)


def test_it_has_the_environment_that_it_is_given(tmp_path):
    given = Daemon("env", ("/usr/bin/env",), tmp_path, {"ONLY": "this", "PATH": os.environ["PATH"]})
    given.start()
    until("its end", lambda: not given.alive(), LIMIT_S)
    given.stop()
    assert "ONLY=this" in given.log_tail()
    assert "HOME=" not in given.log_tail()


def test_a_relay_passes_on_both_directions_each_to_its_end():
    async def echo(reader, writer):
        writer.write(b"you said " + await reader.read())  # all of it, to the end
        writer.close()

    async def said() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as behind:
            listener = socket.create_server(("127.0.0.1", 0))
            port = behind.sockets[0].getsockname()[1]
            relaying = asyncio.create_task(relay.serve(listener, port))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"hello " * 50_000)
            writer.write_eof()
            heard = await reader.read()
            writer.close()
            await writer.wait_closed()
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
            return heard

    assert asyncio.run(asyncio.wait_for(said(), LIMIT_S)) == b"you said " + b"hello " * 50_000


def test_a_relay_to_nobody_ends_the_connection():
    async def heard() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        listener = socket.create_server(("127.0.0.1", 0))
        relaying = asyncio.create_task(relay.serve(listener, port))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)

    assert asyncio.run(asyncio.wait_for(heard(), LIMIT_S)) == b""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return _state(pid) != b"Z"


def _state(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a moment's look
            return file.read().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return b"Z"
