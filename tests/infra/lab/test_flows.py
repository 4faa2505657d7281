"""The echo of the gateways' lab outlives those who ask it."""

import socket
import struct
import sys
from pathlib import Path

from tests.kit.ports import free_port
from tests.kit.processes import ROOT
from tests.lab.daemons import Daemon, until
from tests.lab.environments import answers

MESSAGE = b"%63d\n" % 7
AT_ONCE = struct.pack("ii", 1, 0)  # a close that resets the connection


def test_an_asker_that_is_killed_does_not_end_it_for_the_others(tmp_path: Path):
    port = free_port()
    server = Daemon("flows", [sys.executable, ROOT / "tests/lab/gateways/flows.py", "serve", str(port)], tmp_path)
    server.start()
    try:
        until("it listens", lambda: answers("127.0.0.1", port), 20, server)
        killed = socket.create_connection(("127.0.0.1", port), timeout=20)
        killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        killed.sendall(MESSAGE)
        assert killed.recv(1)  # it has answered, and the rest will not be read
        killed.close()
        with socket.create_connection(("127.0.0.1", port), timeout=20) as other:
            other.sendall(MESSAGE)
            assert other.recv(len(MESSAGE)) == MESSAGE
    finally:
        server.stop()
