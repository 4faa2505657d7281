"""A kubeconfig's way to its API server, by a client certificate."""

import base64
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

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


class AccessError(Exception):
    """Why a kubeconfig does not serve, in one line."""


def client(kubeconfig: Path) -> httpx.AsyncClient:
    """A client of the current context's cluster; whoever asks for more than an answer sets a time of its own.

    Raises:
        AccessError: the file is not there or lacks something.
    """
    try:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config, "context", config["current-context"])
        cluster, user = _named(config, "cluster", context["cluster"]), _named(config, "user", context["user"])
        verify = _tls(cluster, user, kubeconfig.parent) if cluster["server"].startswith("https:") else False
    except OSError as error:
        raise AccessError(f"kubeconfig {kubeconfig}: {error.strerror or error}") from None
    except (KeyError, TypeError, yaml.YAMLError, ssl.SSLError) as error:
        raise AccessError(f"kubeconfig {kubeconfig}: {error} is missing or does not fit") from None
    # the environment's proxies are for the internet
    return httpx.AsyncClient(
        base_url=cluster["server"],
        transport=httpx.AsyncHTTPTransport(verify=verify, socket_options=_KEPT_ALIVE),
        timeout=_ANSWER_S,
        trust_env=False,
    )


def _named(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for entry in config[f"{kind}s"]:
        if entry["name"] == name:
            return entry[kind]
    raise KeyError(f"{kind} {name}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    with _file(cluster, "certificate-authority", folder) as authority:
        made = ssl.create_default_context(cafile=str(authority))
    with _file(user, "client-certificate", folder) as certificate, _file(user, "client-key", folder) as key:
        made.load_cert_chain(certificate, key)
    return made


@contextmanager
def _file(entry: Mapping[str, Any], key: str, folder: Path) -> Iterator[Path]:
    """What stands under `key`, or inline under `key-data`, as a file: OpenSSL reads a client's key from nothing else."""
    if key in entry:
        yield folder / entry[key]
        return
    with tempfile.NamedTemporaryFile() as copy:  # mode 600
        copy.write(base64.b64decode(entry[f"{key}-data"]))
        copy.flush()
        yield Path(copy.name)
