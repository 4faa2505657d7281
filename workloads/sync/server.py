"""The serving half of an exchange: a site's own frames and what it can resume from, for its peers alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import grpc
from pydantic import ValidationError

from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError, explain
from workloads.sync.desk import Desk
from workloads.sync.frame import Frame, RefusedError
from workloads.sync.ledger import Ledger
from workloads.sync.outbox import GoneError
from workloads.sync.security import Security
from workloads.sync.wire import (
    ANSWERED_BY,
    CHUNK_BYTES,
    CONFER,
    FETCH,
    HEAL,
    MEET,
    SERVICE,
    FetchRequest,
    Greeting,
    HealRequest,
    Patience,
    StandingRequest,
)

_REQUESTS_A_PEER = 6  # three that wait, one that is broken and not yet noticed, a greeting, one to spare

Request = TypeVar("Request", bound=Greeting)


class FrameServer:
    """Serves what `desk` has to its peers."""

    def __init__(
        self,
        *,
        run_id: str,
        site: str,
        part: int,
        security: Security,
        desk: Desk,
        ledger: Ledger,
        patience: Patience,
    ) -> None:
        self._run_id = run_id
        self._site = site
        self._part = part
        self._security = security
        self._desk = desk
        self._ledger = ledger
        self._patience = patience
        self._server: grpc.Server | None = None

    def start(self, endpoint: Endpoint) -> None:
        """Listen at `endpoint`. Raises `UserError`: the port is in use."""
        pool = ThreadPoolExecutor(_REQUESTS_A_PEER * max(1, len(self._desk.peers)), thread_name_prefix="exchange")
        server = grpc.server(pool, options=self._patience.options())
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            FETCH: grpc.unary_stream_rpc_method_handler(self._fetch),
            HEAL: grpc.unary_stream_rpc_method_handler(self._heal),
            MEET: grpc.unary_unary_rpc_method_handler(self._meet),
            CONFER: grpc.unary_unary_rpc_method_handler(self._confer),
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
        if request.site not in self._desk.cohort(request.turn):
            detail = f"{request.site} takes no part in turn {request.turn}"
            self._ledger.refuse("left-out", f"a request from {context.peer()}", detail)
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, detail)
        if request.origin is not None:
            passed_on = self._desk.passed_on(request.origin, request.turn)
            if passed_on is not None:
                yield from self._messages(passed_on, request.offset)
            return
        outbox = self._desk.outbox
        outbox.acknowledge(request.site, request.turn - 1)
        context.add_callback(outbox.wake)
        context.send_initial_metadata(((ANSWERED_BY, self._site),))
        try:
            frame = outbox.wait_for(request.turn, self._patience.poll_s, context.is_active)
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
        return self._desk.announce(request.site).model_dump_json().encode()

    def _confer(self, encoded: bytes, context: grpc.ServicerContext) -> bytes:
        request = self._admit(StandingRequest, encoded, context)
        answer = self._desk.answer(request.site, request.standing)
        if answer is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"{self._site} has no say in the cohort yet")
        return answer.model_dump_json().encode()

    def _heal(self, encoded: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = self._admit(HealRequest, encoded, context)
        state = self._desk.healing_for(request.site, request.turn)
        if state is not None:
            for message in state.messages(request.offset):
                self._ledger.sent(len(message), is_payload=False)
                yield message

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
        self._security.check_caller(request.site, context, self._desk.peers)
        if request.run_id != self._run_id:
            raise RefusedError("foreign-run", f"{request.run_id}, this is {self._run_id}")
        if request.part != self._part:
            raise RefusedError("wrong-shard", f"part {request.part} of the model, this is part {self._part}")

    def _reject(self, refusal: RefusedError, context: grpc.ServicerContext) -> NoReturn:
        self._ledger.refuse(refusal.reason, f"a request from {context.peer()}", str(refusal))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refusal))
