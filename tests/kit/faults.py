"""What can go wrong between two sites, as switches: on the bytes of a link, and, where TLS forbids that, on whole frames."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from workloads.spec.base import Credentials
from workloads.sync.wire import ANSWERED_BY, CONFER, FETCH, MEET, SERVICE

Answer = list[bytes]  # header and payload in chunks; empty: no frame yet
Fetch = Callable[[bytes], Answer]  # a request, and what the honest site answers to it

_LARGE = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 1 << 24)]
_NAME = "grpc.ssl_target_name_override"


def _read(credentials: Credentials) -> tuple[bytes, bytes, bytes]:
    return credentials.ca.read_bytes(), credentials.key.read_bytes(), credentials.certificate.read_bytes()


class Impostor:
    """Stands between `caller` and `target` with the keys of both, and answers with what `tamper` makes of a frame.

    `tamper` gets each request for a frame, and a way to ask the target; it returns what the caller is to be told. All
    other requests pass as they are.
    """

    def __init__(
        self,
        *,
        caller: Credentials,
        target: Credentials,
        target_name: str,
        port: int,
        target_port: int,
        tamper: Callable[[bytes, Fetch], Answer],
    ) -> None:
        ca, key, certificate = _read(caller)
        self._channel = grpc.secure_channel(
            f"127.0.0.1:{target_port}",
            grpc.ssl_channel_credentials(ca, key, certificate),
            [*_LARGE, (_NAME, target_name)],
        )
        ca, key, certificate = _read(target)
        self._server = grpc.server(ThreadPoolExecutor(8), options=_LARGE)
        self._server.add_secure_port(
            f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
        )
        self._name, self._tamper = target_name, tamper
        handlers = {name: grpc.unary_unary_rpc_method_handler(self._pass_on(name)) for name in (MEET, CONFER)}
        handlers[FETCH] = grpc.unary_stream_rpc_method_handler(self._answer)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        def fetch(request: bytes) -> Answer:
            call = self._channel.unary_stream(f"/{SERVICE}/{FETCH}")(request)
            context.add_callback(call.cancel)
            return list(call)

        try:
            answer = self._tamper(request, fetch)
        except grpc.RpcError as failure:
            context.abort(failure.code(), failure.details())
        context.send_initial_metadata(((ANSWERED_BY, self._name),))
        yield from answer

    def _pass_on(self, method: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return bytes(self._channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=10))
            except grpc.RpcError as failure:
                context.abort(failure.code(), failure.details())
                raise

        return answer


class Once:
    """Lets something happen to the first answer that is a frame, or to the first of which `applies` says so."""

    def __init__(self, change: Callable[[bytes, Answer, Fetch], Answer]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self.happened = False

    def __call__(self, request: bytes, fetch: Fetch) -> Answer:
        answer = fetch(request)
        with self._lock:
            if self.happened or not answer:
                return answer
            changed = self._change(request, answer, fetch)
            self.happened = changed != answer
            return changed


class Skew:
    """A wall clock that jumps to and fro by a day, further each time the product reads it.

    Others read the real one: gRPC compares what Python says with what its core reads from the machine, which no patch
    reaches, and a clock that says both at once is no clock that jumps.
    """

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real
        self._reads = 0

    def __call__(self) -> float:
        if not str(sys._getframe(1).f_globals.get("__name__")).startswith("workloads."):
            return self._real()
        self._reads += 1
        return self._real() + 86400.0 * self._reads * (-1) ** self._reads
