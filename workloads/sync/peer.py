"""The fetching half of an exchange: one peer's frames, round after round, over a link that breaks."""

import threading
import time

import grpc

from workloads.sync.frame import Assembly, Expected, Frame, RefusedError
from workloads.sync.ledger import LOG, Ledger
from workloads.sync.mailboxes import Inbox
from workloads.sync.quantise import UpdateFormat
from workloads.sync.wire import ANSWERED_BY, FETCH, MEET, SERVICE, Announcement, FetchRequest, Greeting, Patience

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
        limit: int,
        inbox: Inbox,
        ledger: Ledger,
        patience: Patience,
    ) -> None:
        self.name = name
        self.trouble = ""  # why the newest request failed; empty: it did not
        self._channel = channel
        self._caller = caller
        self._limit = limit
        self._inbox = inbox
        self._ledger = ledger
        self._patience = patience
        self._fetch_call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{SERVICE}/{FETCH}")
        self._meet_call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{MEET}")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._open_call: grpc.Call | None = None
        self._told = threading.Condition()
        self._wanted = 0  # round that is being fetched
        self._told_round = 0  # newest round that the peer was asked for, so that it knows all earlier ones to be here

    def meet(self) -> tuple[int, ...] | None:
        """Rounds after which the peer can go on with this site; None: it cannot be reached, or does not know yet."""
        try:
            answer = self._meet_call(self._caller.model_dump_json().encode(), timeout=self._patience.poll_s)
        except grpc.RpcError as error:
            self._note_trouble(error)
            return None
        self.trouble = ""
        return Announcement.model_validate_json(answer).rounds

    def follow(self, form: UpdateFormat, from_round: int) -> None:
        """Fetch the peer's frames from `from_round` on, until `close`."""
        self._wanted = from_round
        self._thread = threading.Thread(target=self._run, args=(form,), name=f"fetch-{self.name}", daemon=True)
        self._thread.start()

    def wait_acknowledged(self, timeout_s: float) -> bool:
        """Whether the peer knows, within `timeout_s`, that all its frames that are here have arrived."""
        with self._told:
            return self._told.wait_for(lambda: self._told_round >= self._wanted, timeout_s)

    def close(self) -> None:
        """Stop fetching; returns when the thread has ended. The inbox must have been closed."""
        self._stopped.set()
        call = self._open_call
        if call is not None:
            call.cancel()
        if self._thread is not None:
            self._thread.join()
        self._channel.close()

    def _run(self, form: UpdateFormat) -> None:
        assembly: Assembly | None = None
        outage = _Outage(f"{self._caller.site}: link to {self.name}", self._patience.notice_s)
        pause_s = self._patience.retry_s
        while self._inbox.wait_for_room(self.name) and not self._stopped.is_set():
            assembly = assembly or Assembly(self._expected(form))
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

    def _expected(self, form: UpdateFormat) -> Expected:
        return Expected(self._caller.run_id, self.name, self._wanted, form, self._limit)

    def _fetch(self, assembly: Assembly) -> Frame | None:
        """Add to `assembly` until the frame is whole; None: not published yet. Raises `RefusedError`, `grpc.RpcError`."""
        request = FetchRequest(**self._caller.model_dump(), round=self._wanted, offset=assembly.received)
        call = self._fetch_call(request.model_dump_json().encode())
        self._open_call = call
        if self._stopped.is_set():
            call.cancel()
        if dict(call.initial_metadata()).get(ANSWERED_BY) == self.name:
            with self._told:
                self._told_round = self._wanted
                self._told.notify_all()
        try:
            header = next(call, None)
            if header is None:
                return None
            assembly.open(header)
            for chunk in call:
                self._ledger.received(len(chunk))
                assembly.feed(chunk)
            return assembly.close()
        finally:
            call.cancel()  # of no effect on a call that has ended

    def _note_trouble(self, error: grpc.RpcError) -> None:
        code = error.code() if isinstance(error, grpc.Call) else None
        details = str(error.details() if isinstance(error, grpc.Call) else error)
        self.trouble = f"{code.name if code else 'error'}: {details}"
        if any(sign in details for sign in _SIGNS_OF_A_WRONG_CERTIFICATE):
            self._ledger.refuse("certificate", f"a connection to {self.name}", details)
