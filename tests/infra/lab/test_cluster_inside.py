"""What the first process of a node sees to."""

import sys

import pytest

from tests.lab.cluster import inside

# as a kubelet does that finds no runtime yet: it ends, and is there the next time
LATE = """
import pathlib, socket, sys, time
before, socket_path = pathlib.Path(sys.argv[1]), sys.argv[2]
if not before.exists():
    before.touch()
    sys.exit(1)
listener = socket.socket(socket.AF_UNIX)
listener.bind(socket_path)
time.sleep(60)
"""
STAYS = "import time; time.sleep(60)"


def service(tmp_path, script, *arguments):
    return {"command": [sys.executable, "-c", script, *map(str, arguments)], "log": str(tmp_path / "log")}


@pytest.fixture
def runtime(tmp_path):
    started = inside._start(service(tmp_path, STAYS))
    yield started
    started.kill()
    started.wait()


def test_a_kubelet_that_came_too_early_is_started_again(tmp_path, runtime):
    plugins = tmp_path / "kubelet.sock"
    kubelet = service(tmp_path, LATE, tmp_path / "before", plugins)
    (running,) = inside._start_services({"services": [kubelet], "plugin_socket": str(plugins)}, runtime)
    try:
        assert running.poll() is None
        assert plugins.is_socket()
    finally:
        running.kill()
        running.wait()


def test_a_node_whose_runtime_ends_ends_with_it(tmp_path, runtime, monkeypatch):
    monkeypatch.setattr(inside, "_SOCKET_LIMIT_S", 20)
    runtime.kill()
    runtime.wait()
    document = {"services": [], "plugin_socket": str(tmp_path / "none")}
    with pytest.raises(SystemExit, match="ended; see its own log"):
        inside._start_services(document, runtime)
