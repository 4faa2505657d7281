"""A site's exchange with its peers. Frames are pulled: each site serves its own, and its peers fetch them at their pace.

A pull needs no bookkeeping of who missed what: after any outage a peer simply asks again, from the byte it had.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError
from workloads.sync.council import Standing, View
from workloads.sync.desk import Desk
from workloads.sync.frame import Frame
from workloads.sync.healing import HealingState, healing_limit
from workloads.sync.ledger import Ledger
from workloads.sync.pullers import Pullers
from workloads.sync.rendezvous import heal_from, newest_common
from workloads.sync.security import Security
from workloads.sync.server import FrameServer
from workloads.sync.wire import FormOf, Greeting, Patience

_DEFAULT_PATIENCE = Patience()


class Exchange:
    """Frames of run `run_id` between `site` and `peers`, each given by where it can be reached through the link.

    It carries part `part` of the model, in `fragments` fragments a round; each fragment of each round is a turn. Whose
    frames a turn needs is said by its views, at first all sites'. With `credentials` both ends of every connection prove
    which site they are (mutual TLS); without, all endpoints must be on loopback. A frame's payload may have
    `max_frame_bytes` at most.

    Frames that all peers have are kept as long as one that saves its state every `checkpoint_rounds` rounds may come back
    without them; in files of `spool`, a folder of this exchange alone, or in memory.
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
        part: int = 0,
        fragments: int = 1,
        patience: Patience = _DEFAULT_PATIENCE,
        checkpoint_rounds: int = 1,
        spool: Path | None = None,
    ) -> None:
        if site in peers:
            raise ValueError(f"site {site} is its own peer")
        self.run_id = run_id
        self.site = site
        self.part = part
        self.fragments = fragments
        self.max_frame_bytes = max_frame_bytes
        self.patience = patience
        self._listen = listen
        self._endpoints = dict(peers)
        self._credentials = credentials
        self._ledger = Ledger(site)
        self._caller = Greeting(run_id=run_id, site=site, part=part)
        self._desk = Desk(site, peers, fragments, part, checkpoint_rounds=checkpoint_rounds, folder=spool)
        self._security: Security | None = None
        self._server: FrameServer | None = None
        self._pullers = Pullers((), self._desk, self._ledger, patience)  # none before the start

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def peers(self) -> frozenset[str]:
        """Names of the other sites, whether they take part now or not."""
        return frozenset(self._endpoints)

    @property
    def views(self) -> tuple[View, ...]:
        """Who takes part from which turn on, oldest first."""
        return self._desk.views

    @property
    def says_left_out(self) -> bool:
        """Whether some peer has said that this site takes part no more."""
        return any(peer.says_left_out for peer in self._pullers.peers)

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
        """All that was put on the link so far, with the framing of gRPC and HTTP/2, before TLS."""
        return self._ledger.wire_bytes_sent

    def start(self) -> None:
        """Listen, and make ready to fetch.

        Raises:
            UserError: the port is in use, credentials cannot be read, or plain text is asked for off loopback.
        """
        self._security = Security(self.site, self._credentials, [self._listen, *self._endpoints.values()])
        server = FrameServer(
            run_id=self.run_id,
            site=self.site,
            part=self.part,
            security=self._security,
            desk=self._desk,
            ledger=self._ledger,
            patience=self.patience,
        )
        server.start(self._listen)
        self._server = server
        self._pullers = self._reach(self._security)

    def rendezvous(self, rounds: Sequence[int], timeout_s: float | None) -> int:
        """The round after which all sites go on: the newest that every site can resume from; 0: none, start afresh.

        `rounds` are those of this site's verified checkpoints. A peer that is starting too says its own; one that lives on
        says for which rounds it still has all later frames, and keeps them. Waits for every peer that takes part, up to
        `timeout_s` seconds (None: however long it takes).

        Raises:
            MustHealError: the others have removed this site, or live on too far from its checkpoints.
            UserError: a peer is not heard from in time.
        """
        usable = self._desk.checkpoints = tuple(sorted({0, *rounds}))
        start = newest_common(
            self.site, usable, self._pullers.peers, self.views, timeout_s, self.patience, self.fragments
        )
        self.adopt(start.views)
        return start.round

    def adopt(self, views: tuple[View, ...]) -> None:
        """Go by `views` from now on: fetch from, serve and wait for the sites that they say."""
        if views != self.views:
            self._desk.adopt(views)
            for peer in self._pullers.peers:
                peer.says_left_out = False

    def follow(self, form_of: FormOf, from_turn: int) -> None:
        """Fetch the peers' frames from `from_turn` on, ahead of `collect`. Only the first call counts.

        `form_of` gives the format of a turn's frames.
        """
        self._pullers.follow(form_of, from_turn)

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
        self._desk.outbox.publish(*frames)
        self._desk.inbox.begun(max((frame.turn for frame in frames), default=0))

    def collect(self, turn: int, timeout_s: float | None) -> dict[str, Frame] | None:
        """Every peer's frame of `turn`, by site; None: not all there within `timeout_s` (None: no limit).

        Peers are those of the turn's cohort; a turn that this site itself takes no part in never is there.
        """
        return self._desk.inbox.collect(turn, timeout_s)

    def discard(self, turn: int) -> None:
        """Drop the peers' frames of turns up to `turn`: they are merged."""
        self._desk.inbox.discard(turn)

    def overdue(self) -> dict[str, float]:
        """Who has not sent its frame of the oldest turn that is not merged, and for how many seconds it is waited for."""
        return self._desk.inbox.overdue()[1]

    def refuse_diverged(self, site: str, detail: str) -> None:
        """Count that `site`'s frame fits no common history."""
        self._ledger.refuse("diverged", f"a frame from {site}", detail)

    def retained(self) -> tuple[Frame, ...]:
        """This site's frames that peers may still fetch, oldest first."""
        return self._desk.outbox.frames()

    def on_standing(self, answer: Callable[[str, Standing], Standing] | None) -> None:
        """Let `answer` speak for this site when a peer tells what it stands for; it runs in the server's threads."""
        self._desk.on_standing = answer

    def confer(self, standing: Standing) -> dict[str, Standing]:
        """Tell every peer what this site stands for; what those do that answered within `Patience.confer_s`."""
        return self._pullers.confer(standing)

    def offer_healing(self, turn: int | None, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Give the outer state that `turn` begins with to the sites that join then; None: nothing is given any more."""
        if turn is None:
            self._desk.healing = None
        elif self._desk.healing is None or self._desk.healing.header.turn != turn:
            self._desk.healing = HealingState(state(), run_id=self.run_id, site=self.site, part=self.part, turn=turn)

    def heal(self, turn: int, timeout_s: float | None) -> dict[str, Tensor]:
        """The outer state that `turn` begins with, from any site that takes part; its own frames are given up.

        Raises:
            UserError: nobody gave it within `timeout_s` seconds (None: however long it takes).
        """
        self._restart(turn)
        members = [peer for peer in self._pullers.peers if peer.name in self._desk.cohort(turn)]
        return heal_from(
            members, self._caller, turn, healing_limit(self.max_frame_bytes), timeout_s, self.patience, self._ledger
        )

    def drain(self, timeout_s: float | None) -> bool:
        """Wait, after the last round, until every peer has every frame and knows that its own have arrived.

        False: not within `timeout_s` seconds (None: however long it takes). A site that closes without this may leave
        its peers waiting for its last frame.
        """
        started = time.monotonic()
        delivered = self._desk.outbox.wait_delivered(timeout_s)
        self._pullers.wait_acknowledged(self.views[-1].sites, None if timeout_s is None else started + timeout_s)
        return delivered

    def close(self) -> None:
        """Stop serving and fetching. Takes some seconds at most, whatever the state of the link; may be repeated."""
        self._desk.outbox.close()
        self._pullers.close()
        if self._server is not None:
            self._server.close()
            self._server = None
        self._desk.clear_spools()

    def _reach(self, security: Security) -> Pullers:
        channels = {
            name: security.channel(name, endpoint, self.patience.options())
            for name, endpoint in self._endpoints.items()
        }
        return Pullers.over(
            channels, self._caller, self._desk, self._ledger, self.patience, self.fragments, self.max_frame_bytes
        )

    def _restart(self, turn: int) -> None:
        """Forget all frames, and be ready to follow from `turn` on."""
        if self._security is None:
            raise RuntimeError("the exchange was not started")
        self._pullers.close()
        self._desk.restart(turn)
        self._pullers = self._reach(self._security)
