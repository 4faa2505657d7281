"""The fetching half of an exchange: one peer's frames, turn after turn, over a link that breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from pydantic import ValidationError

from workloads.spec.errors import explain
from workloads.sync.council import Standing
from workloads.sync.frame import Assembly, Expected, Frame, RefusedError
from workloads.sync.healing import HealingAssembly
from workloads.sync.inbox import Inbox
from workloads.sync.ledger import LOG, Ledger
from workloads.sync.wire import (
    ANSWERED_BY,
    CONFER,
    FETCH,
    HEAL,
    MEET,
    SERVICE,
    Announcement,
    FetchRequest,
    FormOf,
    Greeting,
    HealRequest,
    Patience,
    StandingRequest,
)

# gRPC reports a server that is not who it should be as one that cannot be reached; only its words tell.
_SIGNS_OF_A_WRONG_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")


class _Outage:
    """Tells a person that `subject` is down, if that lasts for `notice_s`, and when it is up again."""

    def __init__(self, subject: str, notice_s: float) -> None:
        self._subject = subject
        self._notice_s = notice_s
        self._since: float | None = None
        self._is_told = False

    def went_on(self, trouble: str) -> None:
        """The link has failed, again."""
        self._since = self._since or time.monotonic()
        if not self._is_told and time.monotonic() - self._since >= self._notice_s:
            self._is_told = True
            LOG.warning("%s is down: %s", self._subject, trouble)

    def ended(self) -> None:
        """The link has worked."""
        if self._is_told and self._since is not None:
            LOG.warning("%s is up again after %.0f s", self._subject, time.monotonic() - self._since)
        self._since, self._is_told = None, False


class Peer:
    """One other site, as reached through `channel`. Once it follows, it fetches ahead in a thread of its own."""

    def __init__(
        self,
        name: str,
        channel: grpc.Channel,
        *,
        caller: Greeting,
        fragments: int,
        limit: int,
        inbox: Inbox,
        ledger: Ledger,
        patience: Patience,
    ) -> None:
        self.name = name
        self.trouble = ""  # why the newest request failed; empty: it did not
        self.says_left_out = False  # it holds that this site takes part no more
        self._channel = channel
        self._caller = caller
        self._fragments = fragments
        self._limit = limit
        self._inbox = inbox
        self._ledger = ledger
        self._patience = patience
        self._fetch_call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{SERVICE}/{FETCH}")
        self._heal_call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{SERVICE}/{HEAL}")
        self._meet_call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{MEET}")
        self._confer_call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{CONFER}")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._open_calls: set[grpc.Call] = set()
        self._told = threading.Condition()
        self._wanted = 0  # turn that is being fetched
        self._told_turn = 0  # newest turn that the peer was asked for, so that it knows all earlier ones to be here

    def meet(self) -> Announcement | None:
        """After which rounds the peer can go on with this site, and with whom; None: it cannot be reached."""
        try:
            answer = self._meet_call(self._caller.model_dump_json().encode(), timeout=self._patience.poll_s)
            announcement = Announcement.model_validate_json(answer)
        except grpc.RpcError as error:
            self._note_trouble(error)
            return None
        except ValidationError as error:
            self.trouble = explain(error, f"answer of {self.name}")
            self._ledger.refuse("malformed", f"an answer of {self.name}", self.trouble)
            return None
        self.trouble = ""
        return announcement

    def confer(self, standing: Standing) -> Callable[[], Standing | None]:
        """Tell the peer what this site stands for. The result waits for what the peer does; None: it did not answer."""
        request = StandingRequest(**self._caller.model_dump(), standing=standing)
        answer = self._confer_call.future(request.model_dump_json().encode(), timeout=self._patience.confer_s)

        def result() -> Standing | None:
            try:
                return Standing.model_validate_json(answer.result())
            except grpc.RpcError as error:
                self._note_trouble(error)
            except grpc.FutureCancelledError:
                self.trouble = "closed"
            except ValidationError as error:
                self._ledger.refuse("malformed", f"an answer of {self.name}", explain(error, "standing"))
            return None

        return result

    def follow(self, form_of: FormOf, from_turn: int) -> None:
        """Fetch the peer's frames from `from_turn` on, each of the format that `form_of` says, until `close`."""
        self._wanted = from_turn
        self._thread = threading.Thread(target=self._run, args=(form_of,), name=f"fetch-{self.name}", daemon=True)
        self._thread.start()

    def fetch_of(self, origin: str, assembly: Assembly, turn: int) -> Frame | None:
        """The frame of site `origin` for `turn`, if this peer has it to pass on. Raises `RefusedError`, `grpc.RpcError`."""
        request = FetchRequest(**self._caller.model_dump(), turn=turn, offset=assembly.received, origin=origin)
        with self._call(request) as call:
            return self._fill(call, assembly)

    def heal(self, assembly: HealingAssembly, turn: int) -> bool:
        """Add to `assembly` until the outer state of `turn` is whole; False: the peer does not have it (yet).

        Raises:
            RefusedError: what came is not it.
            grpc.RpcError: the link failed; ask again.
        """
        request = HealRequest(**self._caller.model_dump(), turn=turn, offset=assembly.received)
        with self._call(request) as call:
            header = next(call, None)
            if header is None:
                return False
            assembly.open(header)
            for chunk in call:
                assembly.feed(chunk)
            return True

    def wait_acknowledged(self, timeout_s: float) -> bool:
        """Whether the peer knows, within `timeout_s`, that all its frames that are here have arrived."""
        with self._told:
            return self._told.wait_for(lambda: self._told_turn >= self._wanted, timeout_s)

    def stop(self) -> None:
        """Cancel all calls, now and later."""
        self._stopped.set()
        with self._told:
            calls = list(self._open_calls)
        for call in calls:
            call.cancel()

    def close(self) -> None:
        """Stop fetching; returns when the thread has ended. The inbox must have been closed."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        self._channel.close()

    def expected(self, form_of: FormOf, origin: str, turn: int) -> Expected:
        """What the frame of site `origin` for `turn` must be."""
        return Expected(
            run_id=self._caller.run_id,
            site=origin,
            turn=turn,
            format=form_of(turn),
            limit=self._limit,
            shard=self._caller.part,
            fragments=self._fragments,
        )

    def _run(self, form_of: FormOf) -> None:
        assembly: Assembly | None = None
        outage = _Outage(f"{self._caller.site}: link to {self.name}", self._patience.notice_s)
        pause_s = self._patience.retry_s
        while (turn := self._inbox.wait_for_turn(self.name, self._wanted)) is not None and not self._stopped.is_set():
            assembly = (assembly if turn == self._wanted else None) or Assembly(self.expected(form_of, self.name, turn))
            self._wanted = turn
            received = assembly.received
            try:
                frame = self._fetch(assembly)
            except grpc.RpcError as error:
                self._note_trouble(error)
                outage.went_on(self.trouble)
                if assembly.received > received:
                    pause_s = self._patience.retry_s
            except RefusedError as refusal:
                self._ledger.refuse(refusal.reason, f"a frame from {self.name}", str(refusal))
                assembly = None
            else:
                outage.ended()
                pause_s = self._patience.retry_s
                if frame is not None:
                    assembly = None
                    self._inbox.put(frame)
                    with self._told:
                        self._wanted += 1
                continue
            self._stopped.wait(pause_s)
            pause_s = min(2 * pause_s, self._patience.longest_retry_s)

    def _fetch(self, assembly: Assembly) -> Frame | None:
        """Add to `assembly` until the frame is whole; None: not published yet. Raises `RefusedError`, `grpc.RpcError`."""
        request = FetchRequest(**self._caller.model_dump(), turn=self._wanted, offset=assembly.received)
        with self._call(request) as call:
            if dict(call.initial_metadata()).get(ANSWERED_BY) == self.name:
                with self._told:
                    self._told_turn = self._wanted
                    self._told.notify_all()
            return self._fill(call, assembly)

    def _fill(self, call: Iterator[bytes], assembly: Assembly) -> Frame | None:
        header = next(call, None)
        if header is None:
            return None
        assembly.open(header)
        for chunk in call:
            self._ledger.received(len(chunk))
            assembly.feed(chunk)
        return assembly.close()

    @contextmanager
    def _call(self, request: FetchRequest | HealRequest) -> Iterator["grpc._CallIterator[bytes]"]:
        method = self._heal_call if isinstance(request, HealRequest) else self._fetch_call
        call = method(request.model_dump_json().encode())
        with self._told:
            self._open_calls.add(call)
        if self._stopped.is_set():
            call.cancel()
        try:
            yield call
        finally:
            call.cancel()  # of no effect on a call that has ended
            with self._told:
                self._open_calls.discard(call)

    def _note_trouble(self, error: grpc.RpcError) -> None:
        code = error.code() if isinstance(error, grpc.Call) else None
        details = str(error.details() if isinstance(error, grpc.Call) else error)
        self.trouble = f"{code.name if code else 'error'}: {details}"
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            self.says_left_out = True
        if any(sign in details for sign in _SIGNS_OF_A_WRONG_CERTIFICATE):
            self._ledger.refuse("certificate", f"a connection to {self.name}", details)
