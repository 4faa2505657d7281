"""The serving half of an exchange: a site's own frames and what it can resume from, for its peers alone."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import grpc
from pydantic import ValidationError

from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError, explain
from workloads.sync.frame import Frame, RefusedError
from workloads.sync.ledger import Ledger
from workloads.sync.mailboxes import GoneError, Outbox
from workloads.sync.security import Security
from workloads.sync.wire import (
    ANSWERED_BY,
    CHUNK_BYTES,
    FETCH,
    MEET,
    SERVICE,
    Announcement,
    FetchRequest,
    Greeting,
    Patience,
)

_REQUESTS_A_PEER = 4  # one that waits, one that is broken and not yet noticed, a greeting, one to spare

Request = TypeVar("Request", bound=Greeting)


class FrameServer:
    """Serves `outbox` to `cohort`; `checkpoints` tells what this site itself could resume from, if it knows yet."""

    def __init__(
        self,
        *,
        run_id: str,
        site: str,
        cohort: Collection[str],
        security: Security,
        outbox: Outbox,
        checkpoints: Callable[[], tuple[int, ...] | None],
        ledger: Ledger,
        patience: Patience,
    ) -> None:
        self._run_id = run_id
        self._site = site
        self._cohort = cohort
        self._security = security
        self._outbox = outbox
        self._checkpoints = checkpoints
        self._ledger = ledger
        self._patience = patience
        self._server: grpc.Server | None = None

    def start(self, endpoint: Endpoint) -> None:
        """Listen at `endpoint`. Raises `UserError`: the port is in use."""
        pool = ThreadPoolExecutor(_REQUESTS_A_PEER * max(1, len(self._cohort)), thread_name_prefix="exchange")
        server = grpc.server(pool, options=self._patience.options())
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            FETCH: grpc.unary_stream_rpc_method_handler(self._fetch),
            MEET: grpc.unary_unary_rpc_method_handler(self._meet),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            self._security.listen(server, endpoint)
        except RuntimeError:
            server.stop(None)
            raise UserError(
                f"site {self._site}: cannot listen at {endpoint}, the port is in use; free it or choose another"
            ) from None
        server.start()
        self._server = server

    def close(self) -> None:
        """End open requests and stop listening."""
        if self._server is not None:
            self._server.stop(self._patience.farewell_s).wait()
            self._server = None

    def _fetch(self, encoded: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = self._admit(FetchRequest, encoded, context)
        self._outbox.acknowledge(request.site, request.round - 1)
        context.add_callback(self._outbox.wake)
        context.send_initial_metadata(((ANSWERED_BY, self._site),))
        try:
            frame = self._outbox.wait_for(request.round, self._patience.poll_s, context.is_active)
        except GoneError as gone:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, str(gone))
        if frame is not None:
            yield from self._messages(frame, request.offset)

    def _messages(self, frame: Frame, offset: int) -> Iterator[bytes]:
        header = frame.encoded_header()
        self._ledger.sent(len(header), is_payload=False)
        yield header
        payload = frame.payload
        for start in range(offset, len(payload), CHUNK_BYTES):
            chunk = bytes(payload[start : start + CHUNK_BYTES])
            self._ledger.sent(len(chunk), is_payload=True)
            yield chunk

    def _meet(self, encoded: bytes, context: grpc.ServicerContext) -> bytes:
        request = self._admit(Greeting, encoded, context)
        rounds = self._outbox.promise(request.site) or self._checkpoints()
        return Announcement(rounds=rounds).model_dump_json().encode()

    def _admit(self, kind: type[Request], encoded: bytes, context: grpc.ServicerContext) -> Request:
        """The request, if its caller may ask. Aborts the call otherwise."""
        try:
            request = kind.model_validate_json(encoded)
            self._check(request, context)
        except ValidationError as error:
            self._reject(RefusedError("malformed", explain(error, "request")), context)
        except RefusedError as refusal:
            self._reject(refusal, context)
        return request

    def _check(self, request: Greeting, context: grpc.ServicerContext) -> None:
        self._security.check_caller(request.site, context, self._cohort)
        if request.run_id != self._run_id:
            raise RefusedError("foreign-run", f"{request.run_id}, this is {self._run_id}")

    def _reject(self, refusal: RefusedError, context: grpc.ServicerContext) -> NoReturn:
        self._ledger.refuse(refusal.reason, f"a request from {context.peer()}", str(refusal))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refusal))
