"""A client of the API server that outlives a cut link."""

import socket
from pathlib import Path
from typing import Final

import httpx

from tests.lab import kubeconfig

WATCH_S: Final = 240
"""How long the API server is asked to keep a watch open."""

_ANSWER_S = 5
# a link that is cut says nothing: the peer is asked after 5 s of silence, and given up after 15 s without an answer
_KEPT_ALIVE: list[tuple[int, int, int]] = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),
]


def client(path: Path) -> httpx.AsyncClient:
    """A client of the cluster of a kubeconfig's current context; whoever asks for more than an answer sets its own time.

    Raises:
        UserError: the file is not there, lacks something or does not fit.
    """
    found = kubeconfig.access(str(path))
    return httpx.AsyncClient(
        base_url=found.server,
        transport=httpx.AsyncHTTPTransport(
            verify=found.tls() if found.server.startswith("https:") else False, socket_options=_KEPT_ALIVE
        ),
        timeout=_ANSWER_S,
        # the environment's proxies are for the internet
        trust_env=False,
    )
