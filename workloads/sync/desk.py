"""All that a site has to give to its peers, for any number of threads."""

from collections.abc import Callable, Iterable
from pathlib import Path

from workloads.sync.council import Standing, View, cohort_of, first_views
from workloads.sync.frame import Frame
from workloads.sync.healing import HealingState
from workloads.sync.inbox import Inbox
from workloads.sync.outbox import Outbox, retained_turns
from workloads.sync.spool import Spool
from workloads.sync.wire import Announcement


class Desk:
    """The mailboxes of `site` for one part of the model, and who takes part in which turn.

    Every site saves its state each `checkpoint_rounds`. Frames that are seldom needed lie in `folder`, if there is one.
    """

    def __init__(
        self,
        site: str,
        peers: Iterable[str],
        fragments: int,
        part: int,
        *,
        checkpoint_rounds: int = 1,
        folder: Path | None = None,
    ) -> None:
        self.site = site
        self.peers = frozenset(peers)
        self._spools = {name: Spool(folder / name if folder else None) for name in (site, *self.peers)}
        retained = retained_turns(fragments, checkpoint_rounds) if self.peers else 0
        self.outbox = Outbox(self.peers, fragments, retained, self._spools[site])
        self.inbox = Inbox(site, self.peers, fragments, part, self._spools)
        self.checkpoints: tuple[int, ...] | None = None  # rounds that this site could resume from, if it knows yet
        self.healing: HealingState | None = None  # for sites that join
        self.on_standing: Callable[[str, Standing], Standing] | None = None  # who answers for the cohort
        self.views = first_views([site, *self.peers], part + 1)
        self._fragments = fragments
        self._part = part

    def adopt(self, views: tuple[View, ...]) -> None:
        """Go by `views` from now on."""
        newest = views[-1]
        self.views = views
        self.inbox.adopt(views)
        # One that joins is taken to lack the turn before its first, so that this site stays until it has healed.
        self.outbox.adopt({peer: newest.from_turns[self._part] - 2 for peer in newest.sites if peer != self.site})

    def restart(self, turn: int) -> None:
        """Forget all frames, and begin with `turn`. The inbox must have been closed, and all who used it have ended."""
        self.checkpoints = ((turn - 1) // self._fragments,)
        self.outbox.clear()
        self.clear_spools()
        self.inbox = Inbox(self.site, self.peers, self._fragments, self._part, self._spools)
        self.inbox.adopt(self.views)

    def clear_spools(self) -> None:
        """Let go of the files."""
        for spool in self._spools.values():
            spool.clear()

    def cohort(self, turn: int) -> tuple[str, ...]:
        """Who takes part in `turn`."""
        return cohort_of(self.views, turn, self._part)

    def passed_on(self, origin: str, turn: int) -> Frame | None:
        """The frame of another site, if it is here."""
        return self.inbox.passed_on(origin, turn) if origin in self.peers else None

    def announce(self, peer: str) -> Announcement:
        """After which rounds a `peer` that starts can go on with this site; what it then needs is kept."""
        promised = self.outbox.promise(peer)
        if promised is None:
            return Announcement(rounds=self.checkpoints, views=self.views, is_living=False)
        whole = tuple(number for number in promised if self.inbox.has_all_of_removed(number * self._fragments + 1))
        return Announcement(rounds=whole, views=self.views, is_living=True)

    def answer(self, peer: str, standing: Standing) -> Standing | None:
        """What this site stands for, having heard what `peer` does; None: it has no say yet."""
        return None if self.on_standing is None else self.on_standing(peer, standing)

    def healing_for(self, peer: str, turn: int) -> HealingState | None:
        """The outer state that `turn` begins with, if `peer` joins then and it is there."""
        state = self.healing
        return state if state is not None and state.header.turn == turn and peer in self.cohort(turn) else None
