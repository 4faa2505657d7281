"""A site's exchange with its peers. Frames are pulled: each site serves its own, and its peers fetch them at their pace.

A pull needs no bookkeeping of who missed what: after any outage a peer simply asks again, from the byte it had.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError
from workloads.sync.frame import Frame
from workloads.sync.ledger import Ledger
from workloads.sync.mailboxes import Inbox, Outbox
from workloads.sync.peer import Peer
from workloads.sync.quantise import UpdateFormat
from workloads.sync.rendezvous import newest_common
from workloads.sync.security import Security
from workloads.sync.server import FrameServer
from workloads.sync.wire import Greeting, Patience

_DEFAULT_PATIENCE = Patience()


class Exchange:
    """Frames of run `run_id` between `site` and `peers`, each given by where it can be reached through the link.

    With `credentials` both ends of every connection prove which site they are (mutual TLS); without, all endpoints must
    be on loopback. A frame's payload may have `max_frame_bytes` at most.
    """

    def __init__(
        self,
        *,
        run_id: str,
        site: str,
        listen: Endpoint,
        peers: Mapping[str, Endpoint],
        credentials: Credentials | None,
        max_frame_bytes: int,
        patience: Patience = _DEFAULT_PATIENCE,
    ) -> None:
        if site in peers:
            raise ValueError(f"site {site} is its own peer")
        self.run_id = run_id
        self.site = site
        self.max_frame_bytes = max_frame_bytes
        self._listen = listen
        self._endpoints = dict(peers)
        self._credentials = credentials
        self._patience = patience
        self._checkpoints: tuple[int, ...] | None = None  # set by the rendezvous
        self._ledger = Ledger(site)
        self._outbox = Outbox(peers)
        self._inbox = Inbox(peers)
        self._peers: list[Peer] = []
        self._server: FrameServer | None = None
        self._is_following = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def peers(self) -> frozenset[str]:
        """Names of the other sites."""
        return frozenset(self._endpoints)

    @property
    def refused(self) -> Counter[str]:
        """How often something from a peer was refused, by reason."""
        return self._ledger.refused

    @property
    def payload_bytes_sent(self) -> int:
        """Payload put on the link so far, repeats after a broken link included."""
        return self._ledger.payload_bytes_sent

    @property
    def payload_bytes_received(self) -> int:
        """Payload taken from the link so far, refused frames included."""
        return self._ledger.payload_bytes_received

    @property
    def wire_bytes_sent(self) -> int:
        """Frames put on the link so far, with headers and the framing of gRPC and HTTP/2, before TLS."""
        return self._ledger.wire_bytes_sent

    def start(self) -> None:
        """Listen, and make ready to fetch.

        Raises:
            UserError: the port is in use, credentials cannot be read, or plain text is asked for off loopback.
        """
        security = Security(self.site, self._credentials, [self._listen, *self._endpoints.values()])
        server = FrameServer(
            run_id=self.run_id,
            site=self.site,
            cohort=self.peers,
            security=security,
            outbox=self._outbox,
            checkpoints=lambda: self._checkpoints,
            ledger=self._ledger,
            patience=self._patience,
        )
        server.start(self._listen)
        self._server = server
        self._peers = [
            Peer(
                name,
                security.channel(name, endpoint, self._patience.options()),
                caller=Greeting(run_id=self.run_id, site=self.site),
                limit=self.max_frame_bytes,
                inbox=self._inbox,
                ledger=self._ledger,
                patience=self._patience,
            )
            for name, endpoint in self._endpoints.items()
        ]

    def rendezvous(self, rounds: Sequence[int], timeout_s: float | None) -> int:
        """The round after which all sites go on: the newest that every site can resume from; 0: none, start afresh.

        `rounds` are those of this site's verified checkpoints. A peer that is starting too says its own; one that lives on
        says for which rounds it still has all later frames, and keeps them. Waits for every peer, up to `timeout_s`
        seconds (None: however long it takes).

        Raises:
            UserError: a peer is not heard from in time, or has gone on too far for this site's checkpoints.
        """
        self._checkpoints = tuple(sorted({0, *rounds}))
        return newest_common(self.site, self._checkpoints, self._peers, timeout_s, self._patience)

    def follow(self, form: UpdateFormat, from_round: int) -> None:
        """Fetch the peers' frames of `form`, from `from_round` on, ahead of `collect`. Only the first call counts."""
        if not self._is_following:
            self._is_following = True
            for peer in self._peers:
                peer.follow(form, from_round)

    def publish(self, *frames: Frame) -> None:
        """Serve `frames` to every peer, each until all have it and it is some rounds old.

        A restarted site publishes all that it kept at once: a peer that asks in between would take it for a site that has
        just begun.

        Raises:
            UserError: one is larger than `max_frame_bytes`.
        """
        largest = max((frame.header.payload_bytes for frame in frames), default=0)
        if largest > self.max_frame_bytes:
            raise UserError(
                f"site {self.site}: a frame of {largest} bytes is over the limit of "
                f"{self.max_frame_bytes}; raise max_frame_bytes at every site"
            )
        self._outbox.publish(*frames)

    def collect(self, round_number: int, timeout_s: float | None) -> dict[str, Frame] | None:
        """Every peer's frame of `round_number`, by site; None: not all there within `timeout_s` (None: no limit)."""
        return self._inbox.collect(round_number, timeout_s)

    def discard(self, round_number: int) -> None:
        """Drop the peers' frames of rounds up to `round_number`."""
        self._inbox.discard(round_number)

    def refuse_diverged(self, site: str, detail: str) -> None:
        """Count that `site`'s frame fits no common history."""
        self._ledger.refuse("diverged", f"a frame from {site}", detail)

    def retained(self) -> tuple[Frame, ...]:
        """This site's frames that peers may still fetch, oldest first."""
        return self._outbox.frames()

    def drain(self, timeout_s: float | None) -> bool:
        """Wait, after the last round, until every peer has every frame and knows that its own have arrived.

        False: not within `timeout_s` seconds (None: however long it takes). A site that closes without this may leave
        its peers waiting for its last frame.
        """
        started = time.monotonic()
        delivered = self._outbox.wait_delivered(timeout_s)
        if self._is_following:
            for peer in self._peers:
                left_s = self._patience.farewell_s
                if timeout_s is not None:
                    left_s = min(left_s, max(0.0, started + timeout_s - time.monotonic()))
                peer.wait_acknowledged(left_s)  # else it will find out by itself that nothing more comes
        return delivered

    def close(self) -> None:
        """Stop serving and fetching. Takes some seconds at most, whatever the state of the link; may be repeated."""
        self._outbox.close()
        self._inbox.close()
        for peer in self._peers:
            peer.close()
        self._peers = []
        if self._server is not None:
            self._server.close()
            self._server = None
