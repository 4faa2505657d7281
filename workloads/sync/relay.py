"""Frames that one site cannot get from where they come from, passed on by another that has them.

They travel with their original header and checksum, so that who passes them on need not be trusted with more.
"""

import threading
from collections.abc import Sequence

import grpc

from workloads.sync.desk import Desk
from workloads.sync.frame import Assembly, Frame, RefusedError
from workloads.sync.ledger import Ledger
from workloads.sync.peer import Peer
from workloads.sync.wire import FormOf, Patience


class Relay:
    """Asks `peers` for frames of other sites that are overdue, or that come from a site which takes part no more."""

    def __init__(
        self,
        peers: Sequence[Peer],
        desk: Desk,
        ledger: Ledger,
        patience: Patience,
        form_of: FormOf,
    ) -> None:
        self._peers = peers
        self._desk = desk
        self._ledger = ledger
        self._patience = patience
        self._form_of = form_of
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when the thread has ended. The peers' calls must have been cancelled."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(min(self._patience.longest_retry_s, self._patience.relay_s)):
            turn, waited = self._desk.inbox.overdue()
            members = self._desk.views[-1].sites
            for origin, waited_s in waited.items():
                if waited_s >= self._patience.relay_s or origin not in members:
                    self._seek(origin, turn)

    def _seek(self, origin: str, turn: int) -> None:
        for peer in self._peers:
            if peer.name == origin or self._stopped.is_set():
                continue
            frame = self._ask(peer, origin, turn)
            if frame is not None:
                self._desk.inbox.put(frame)
                return

    def _ask(self, peer: Peer, origin: str, turn: int) -> Frame | None:
        try:
            return peer.fetch_of(origin, Assembly(peer.expected(self._form_of, origin, turn)), turn)
        except grpc.RpcError:
            return None  # the peer's own thread tells of its link
        except RefusedError as refusal:
            self._ledger.refuse(refusal.reason, f"a frame of {origin} passed on by {peer.name}", str(refusal))
            return None
