"""The relay's control port: GET /status and POST /outage, JSON, on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

from pydantic import ValidationError

from infra.local.relay.server import LOOPBACK, Relay
from infra.local.relay.status import LinkStatus, Outage
from workloads.spec.errors import UserError, explain

_MAX_BODY = 4096
_PATIENCE_S = 10.0

T = TypeVar("T")


@contextmanager
def control(relay: Relay, port: int) -> Iterator[None]:
    """Answer on `port` while the context lasts. Raises `UserError` if the port cannot be had."""
    loop = asyncio.get_running_loop()

    class Handler(_Handler):
        def status(self) -> LinkStatus:
            return _in_loop(loop, relay.status)

        def switch(self, outage: Outage) -> LinkStatus:
            return _in_loop(loop, lambda: relay.switch(outage))

    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise UserError(
            f"port {port} of the link's control cannot be opened: {error.strerror or error}; "
            "stop the program that has it, or set isthmus:local.base_port"
        ) from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S

    def status(self) -> LinkStatus:
        raise NotImplementedError

    def switch(self, outage: Outage) -> LinkStatus:
        raise NotImplementedError

    def do_GET(self) -> None:
        if self.path != "/status":
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}; ask for /status")
        else:
            self._say(HTTPStatus.OK, self.status().model_dump_json())

    def do_POST(self) -> None:
        if self.path != "/outage":
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}; post to /outage")
        elif self.headers["Origin"] is not None:  # a page in a browser has no business with the link
            self._refuse(HTTPStatus.FORBIDDEN, "requests of web pages are refused")
        else:
            try:
                outage = Outage.model_validate_json(self._body())
            except ValidationError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, explain(error, "outage"))
            else:
                self._say(HTTPStatus.OK, self.switch(outage).model_dump_json())

    def _body(self) -> bytes:
        declared = self.headers["Content-Length"] or "0"
        return self.rfile.read(min(int(declared), _MAX_BODY)) if declared.isdecimal() else b""

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._say(status, json.dumps({"error": reason}))

    def _say(self, status: HTTPStatus, body: str) -> None:
        content = body.encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Requests are not news; a switched outage is told by whoever switches it."""


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> T:
    """Result of `call` made by the loop's thread, which owns the relay."""

    async def made() -> T:
        return call()

    return asyncio.run_coroutine_threadsafe(made(), loop).result(_PATIENCE_S)
