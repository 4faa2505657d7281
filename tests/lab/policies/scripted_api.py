"""An API server of a few lines, that lists and watches by a script: on loopback."""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

LIMIT_S = 20
Raw = dict[str, Any]
Watch = list[Raw]
"""What a watch gets: events, and then it is closed."""


def write_kubeconfig(
    path: Path, port: int, authority: Mapping[str, str] | None = None, user: Mapping[str, str] | None = None
) -> Path:
    """For a server on this port; with entries on its `authority` for one by TLS."""
    server = f"http://127.0.0.1:{port}" if authority is None else f"https://127.0.0.1:{port}"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **(authority or {})}}],
        "users": [{"name": "u", "user": dict(user or {})}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


class Server:
    """Lists and watches that follow a script; asked for more than that, a watch stays open and silent."""

    def __init__(
        self,
        lists: list[tuple[int, list[Raw]]],
        watches: list[Watch | int],
        items: Mapping[str, list[Raw]] | None = None,
    ) -> None:
        self.lists, self.watches, self.asked = lists, watches, list[str]()
        self.items = items or {}  # by the end of a path, over what `lists` has
        self.closing = threading.Event()

    def listed(self, path: str) -> Raw:
        version, items = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        items = self.items.get(path.rpartition("/")[2], items)
        return {"metadata": {"resourceVersion": str(version)}, "items": items}


@contextmanager
def serving(script: Server, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that follows the script."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            script.asked.append(asked["resourceVersion"][0] if "watch" in asked else "list")
            if "watch" not in asked:
                self._say(200, json.dumps(script.listed(urlsplit(self.path).path)))
                return
            planned = script.watches.pop(0) if script.watches else None
            if isinstance(planned, int):
                self._say(planned, "{}")
                return
            self._say(200, "".join(json.dumps(line) + "\n" for line in planned or ()))
            self.wfile.flush()
            if planned is None:
                script.closing.wait(LIMIT_S)

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()  # HTTP 1.0: the end of the connection is the end of what is said
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: a test that fails says what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            script.closing.set()
            server.shutdown()
            thread.join()
