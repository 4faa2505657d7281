"""Who goes on with whom: lost sites leave, returned ones heal and join, and all sites hold the same view of it.

The agreement is made by `workloads.sync.council`; here it is joined to the exchange, the synchronizer and the clock.
"""

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from workloads.spec.base import Frozen, Name
from workloads.spec.errors import UserError
from workloads.spec.membership import DECISION, MembershipDecision
from workloads.spec.recipe import MembershipSpec
from workloads.sync.council import Council, Standing, View
from workloads.sync.exchange import Exchange
from workloads.sync.ledger import LOG
from workloads.sync.member import Member
from workloads.sync.synchronizer import Synchronizer

_VIEWS = "views.json"
_DECISION_LOOK_S = 1.0  # between two looks for an operator's file


class ViewLog(Frozen):
    """The views that a site holds, kept over a restart."""

    run_id: Name
    views: tuple[View, ...]


class Membership(Member):
    """The part of a site that speaks for all of them: it alone tells and hears what sites stand for.

    `folder` is the site's own: an operator's `membership.json` is looked for there, and the views are kept there.
    """

    def __init__(
        self, *, exchange: Exchange, synchronizer: Synchronizer, spec: MembershipSpec, folder: Path, parts: int = 1
    ) -> None:
        super().__init__(exchange, synchronizer)
        self._spec = spec
        self._folder = folder
        self._lock = threading.Lock()  # of the council
        self._talking = threading.Lock()  # held while the exchange's channels are in use
        self._stopped = threading.Event()
        self._has_heard = False
        self._looked_at: float | None = None
        self._orders: frozenset[str] = frozenset()
        self._thread = threading.Thread(target=self._talk, name=f"membership-{exchange.site}", daemon=True)
        first = exchange.views[0].model_copy(update={"from_turns": (1,) * parts})
        self._council = Council(
            exchange.site, self._kept() or (first,), fragments=exchange.fragments, survivor=spec.survivor
        )
        exchange.adopt(self._council.views)

    def __enter__(self) -> Self:
        self._exchange.on_standing(self._answer)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say no more. To be called before the exchange is closed."""
        self._stopped.set()
        self._exchange.on_standing(None)
        self._thread.join()

    @property
    def is_out(self) -> bool:
        """Whether the others go on without this site: it must `ask_in` and `heal`."""
        return self._council.is_out

    @property
    def agreed(self) -> tuple[View, ...]:
        """The views that the sites have agreed on, oldest first: what every part is to `adopt`."""
        return self._council.views

    @property
    def is_open(self) -> bool:
        """Whether this site has cast a vote that is not decided: nothing may be merged meanwhile."""
        return self._council.vote is not None

    def start(self, rounds: Sequence[int], timeout_s: float | None) -> int:
        """The round after which all sites go on, as `Exchange.rendezvous`; `adopt` the views when that is loaded.

        Raises:
            MustHealError: this site cannot go on from its own states: `ask_in` and `heal`.
            UserError: a site that takes part is not heard from in time.
        """
        newest = self._exchange.rendezvous(rounds, timeout_s)
        with self._lock:
            self._council.views = self._exchange.views
            self._keep()
        return newest

    def stirs(self, overdue: Mapping[str, float] | None = None) -> bool:
        """Whether there is something to `consider`: cheap, to be asked once a step.

        `overdue`: how long other parts of this site have waited for whose frames, in seconds.
        """
        with self._lock:
            heard = self._has_heard or self.is_open
        return heard or bool(self._lost(overdue)) or bool(self._ordered())

    def consider(self, merged: Sequence[int], overdue: Mapping[str, float] | None = None) -> bool:
        """Act on what was heard and missed, when all parts are held, each with so many turns merged.

        Whether there are new views; every part must `adopt` them then, and with `is_open` in any case.
        """
        lost, ordered = self._lost(overdue), self._ordered()
        with self._lock:
            self._has_heard = False
            before = self._council.views
            is_new = self._council.consider(
                committed=tuple(merged), begun=self._synchronizer.begun, lost=lost, ordered=ordered
            )
            if is_new:
                self._tell(before)
                self._keep()
        if is_new and ordered and not ordered & set(self._council.newest.sites):
            (self._folder / DECISION).unlink(missing_ok=True)  # done; it must not hold for a site that comes back
            self._orders = frozenset()
        return is_new

    def poll(self) -> bool:
        """All of the above for a site that holds the model in one part: whether the cohort has changed. Once a step."""
        is_new = False
        if self.stirs():
            is_new = self.consider((self.hold(),))
            self.adopt(self._council.views, is_open=self.is_open)
        if not self.is_out:
            self.tend()
        return is_new

    def ask_in(self, timeout_s: float | None) -> tuple[View, ...]:
        """Give up this site's state, and wait until the others let it in again: the views, for all parts to `adopt`.

        Raises:
            UserError: they did not within `timeout_s` seconds (None: however long it takes).
        """
        started = time.monotonic()
        with self._lock:
            epoch = self._council.newest.epoch
            self._council.wants_in = True
        while True:
            with self._lock:
                self._council.learn()
                since = [view for view in self._council.views if view.epoch >= epoch]
                if not self._council.is_out and any(self._exchange.site not in view.sites for view in since):
                    break
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                raise UserError(
                    f"site {self._exchange.site}: not let in again within {timeout_s:g} s; see that one of "
                    f"{', '.join(self._council.newest.sites)} trains on and that the link is up"
                )
            self._stopped.wait(self._exchange.patience.retry_s)
        with self._lock:
            self._council.wants_in = False
            self._keep()
        self._exchange.adopt(self._council.views)
        return self._council.views

    def heal(self, *, trained: int, merged: int, timeout_s: float | None) -> int:
        """As `Member.heal`; not while conferring, which goes over the same channels."""
        with self._talking:
            return super().heal(trained=trained, merged=merged, timeout_s=timeout_s)

    def _lost(self, overdue: Mapping[str, float] | None) -> set[str]:
        if self._spec.on_loss != "remove":
            return set()
        waited = [*self._exchange.overdue().items(), *(overdue or {}).items()]
        return {site for site, seconds in waited if seconds >= self._spec.patience_s}

    def _ordered(self) -> frozenset[str]:
        """What the operator has decided; a file that cannot be read is told of, and left alone."""
        now = time.monotonic()
        if self._looked_at is None or now - self._looked_at >= _DECISION_LOOK_S:
            self._looked_at = now
            self._orders = self._read_decision()
        return self._orders & set(self._council.newest.sites)

    def _read_decision(self) -> frozenset[str]:
        path = self._folder / DECISION
        if not path.is_file():
            return frozenset()
        try:
            remove = frozenset(MembershipDecision.load(path).remove)
        except UserError as error:
            LOG.warning("%s: %s", self._exchange.site, error)
            return frozenset()
        unknown = remove - self._exchange.peers
        if unknown:
            LOG.warning("%s: %s removes %s, which are no peers", self._exchange.site, path, sorted(unknown))
        return remove

    def _answer(self, site: str, standing: Standing) -> Standing:
        """What this site stands for; runs in the server's threads."""
        with self._lock:
            self._hear(site, standing)
            return self._council.standing

    def _hear(self, site: str, standing: Standing) -> None:
        self._council.hear(site, standing)
        is_newer = standing.views[-1].epoch > self._council.newest.epoch
        self._has_heard |= standing.vote is not None or standing.wants_in or is_newer

    def _talk(self) -> None:
        """Confer while something is undecided here, or a peer says that this site takes part no more."""
        patience = self._exchange.patience
        pause_s = patience.retry_s
        while not self._stopped.wait(pause_s):
            with self._lock:
                standing = self._council.standing
            if standing.vote is None and not standing.wants_in and not self._exchange.says_left_out:
                pause_s = patience.retry_s
                continue
            with self._talking:
                heard = {} if self._stopped.is_set() else self._exchange.confer(standing)
            with self._lock:
                for site, theirs in heard.items():
                    self._hear(site, theirs)
            pause_s = min(2 * pause_s, patience.longest_retry_s)

    def _tell(self, before: tuple[View, ...]) -> None:
        """Let a person know; the lock is held."""
        new = self._council.views[len(before) :]
        for earlier, view in itertools.pairwise([before[-1], *new]):
            gone, come = sorted(set(earlier.sites) - set(view.sites)), sorted(set(view.sites) - set(earlier.sites))
            turn = view.from_turns[self._part]
            if self._exchange.site in gone:
                LOG.warning("%s: the others go on without it from turn %d; it must heal", self._exchange.site, turn)
            elif gone:
                LOG.warning(
                    "%s: goes on without %s from turn %d; what they trained on since their last merged turn is lost",
                    self._exchange.site,
                    ", ".join(gone),
                    turn,
                )
            if come:
                LOG.warning("%s: %s joins from turn %d", self._exchange.site, ", ".join(come), turn)

    def _keep(self) -> None:
        ViewLog(run_id=self._exchange.run_id, views=self._council.views).save(self._folder / _VIEWS)

    def _kept(self) -> tuple[View, ...] | None:
        path = self._folder / _VIEWS
        if not path.is_file():
            return None
        log = ViewLog.load(path)
        return log.views if log.run_id == self._exchange.run_id else None
