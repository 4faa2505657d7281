"""The link's switch: a small HTTP server on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.local.relay.server import Relay

_MAX_BODY = 4096


class Control:
    """`GET /status`, and `POST /outage` with `{"on": true, "seconds": 10}`. Runs beside the relay's event loop."""

    def __init__(self, relay: Relay, port: int) -> None:
        loop = asyncio.get_running_loop()

        async def ask(work: Callable[[], Any]) -> Any:
            return work()

        def in_loop(work: Callable[[], Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(ask(work), loop).result(timeout=5)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/status":
                    self._answer(HTTPStatus.NOT_FOUND, {"error": f"{self.path} is unknown; there is /status"})
                    return
                self._answer(HTTPStatus.OK, in_loop(relay.status))

            def do_POST(self) -> None:
                if self.path != "/outage":
                    self._answer(HTTPStatus.NOT_FOUND, {"error": f"{self.path} is unknown; there is /outage"})
                    return
                try:
                    size = min(_MAX_BODY, int(self.headers.get("content-length", "0")))
                    on, seconds = _wish(json.loads(self.rfile.read(size)))
                except (ValueError, TypeError) as error:
                    self._answer(HTTPStatus.BAD_REQUEST, {"error": f"{error}; send {{'on': true, 'seconds': 10}}"})
                    return
                in_loop(lambda: relay.set_outage(on=on, seconds=seconds))
                self._answer(HTTPStatus.OK, in_loop(relay.status))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """A request to the switch is not worth a line."""

            def _answer(self, status: HTTPStatus, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _wish(body: Any) -> tuple[bool, float | None]:
    if not isinstance(body, dict) or not isinstance(body.get("on"), bool):
        raise TypeError("'on' is missing or not true or false")
    seconds = body.get("seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
        raise ValueError(f"'seconds' is {seconds!r} and must be a number above 0")
    return body["on"], None if seconds is None else float(seconds)
