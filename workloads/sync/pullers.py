"""All peers of a site as it pulls from them: followed together, asked together, and stopped together."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Self

import grpc

from workloads.sync.council import Standing
from workloads.sync.desk import Desk
from workloads.sync.ledger import Ledger
from workloads.sync.peer import Peer
from workloads.sync.relay import Relay
from workloads.sync.wire import FormOf, Greeting, Patience


class Pullers:
    """The `peers` of a site, whose frames come to `desk`. Once closed they are of no more use."""

    def __init__(self, peers: Sequence[Peer], desk: Desk, ledger: Ledger, patience: Patience) -> None:
        self.peers = peers
        self._desk = desk
        self._ledger = ledger
        self._patience = patience
        self._relay: Relay | None = None
        self._is_following = False

    @classmethod
    def over(
        cls,
        channels: Mapping[str, grpc.Channel],
        caller: Greeting,
        desk: Desk,
        ledger: Ledger,
        patience: Patience,
        fragments: int,
        limit: int,
    ) -> Self:
        """The peers at the ends of `channels`, as `caller` reaches them; a payload may have `limit` bytes at most."""
        peers = [
            Peer(
                name,
                channel,
                caller=caller,
                fragments=fragments,
                limit=limit,
                inbox=desk.inbox,
                ledger=ledger,
                patience=patience,
            )
            for name, channel in channels.items()
        ]
        return cls(peers, desk, ledger, patience)

    def follow(self, form_of: FormOf, from_turn: int) -> None:
        """Fetch frames from `from_turn` on, each of the format that `form_of` says. Only the first call counts."""
        if self._is_following:
            return
        self._is_following = True
        self._desk.inbox.start(from_turn)
        for peer in self.peers:
            peer.follow(form_of, from_turn)
        if len(self.peers) > 1:
            self._relay = Relay(self.peers, self._desk, self._ledger, self._patience, form_of)
            self._relay.start()

    def confer(self, standing: Standing) -> dict[str, Standing]:
        """Tell every peer what this site stands for; what those do that answered in time."""
        answers = {peer.name: peer.confer(standing) for peer in self.peers}  # all at once
        heard = {name: answer() for name, answer in answers.items()}
        return {name: standing for name, standing in heard.items() if standing is not None}

    def wait_acknowledged(self, sites: Collection[str], deadline: float | None) -> None:
        """Wait until those of `sites` know that their frames have arrived: a while for each, and not past `deadline`.

        A peer that does not hear it finds out by itself that nothing more comes.
        """
        for peer in self.peers if self._is_following else ():
            if peer.name in sites:
                left_s = self._patience.farewell_s
                if deadline is not None:
                    left_s = min(left_s, max(0.0, deadline - time.monotonic()))
                peer.wait_acknowledged(left_s)

    def close(self) -> None:
        """Cancel all calls and stop; returns when all threads have ended. May be repeated."""
        self._desk.inbox.close()
        for peer in self.peers:
            peer.stop()
        if self._relay is not None:
            self._relay.close()
            self._relay = None
        for peer in self.peers:
            peer.close()
