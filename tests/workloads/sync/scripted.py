"""A peer that serves what it is told to, frame or not: the fault that no honest exchange can be made to have."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from workloads.sync.frame import Frame
from workloads.sync.wire import ANSWERED_BY, FETCH, SERVICE


def messages(frame: Frame, header: bytes | None = None) -> list[bytes]:
    """What an honest peer sends for `frame`, or the same under another header."""
    return [header or frame.encoded_header(), bytes(frame.payload)]


class ScriptedPeer:
    """Site `site` on `port`; answers the first request for a frame with the first of `answers`, and so on, then with none."""

    def __init__(self, site: str, port: int, answers: Sequence[Sequence[bytes]]) -> None:
        self._site = site
        self._answers = iter(answers)
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_stream_rpc_method_handler(self._fetch)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {FETCH: handler}),))
        self._server.add_insecure_port(f"127.0.0.1:{port}")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()

    def _fetch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata(((ANSWERED_BY, self._site),))
        answer = next(self._answers, None)
        if answer is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the script is over")
        yield from answer
