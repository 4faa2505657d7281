"""One part of a site's model as the changes of the cohort concern it."""

from workloads.sync.council import View
from workloads.sync.exchange import Exchange
from workloads.sync.ledger import LOG
from workloads.sync.synchronizer import Synchronizer


class Member:
    """One part of the model at one site, as the changes of the cohort concern it. For the training thread alone."""

    def __init__(self, exchange: Exchange, synchronizer: Synchronizer) -> None:
        self._exchange = exchange
        self._synchronizer = synchronizer
        self._part = exchange.part
        self.samples_lost = 0  # that this site trained on and gave up when it healed

    @property
    def views(self) -> tuple[View, ...]:
        """The views that are in force here."""
        return self._exchange.views

    def hold(self) -> int:
        """Merge nothing until `adopt`; the newest turn that is merged."""
        return self._synchronizer.hold()

    def adopt(self, views: tuple[View, ...], *, is_open: bool) -> None:
        """Go by `views`; and merge again, unless a ballot is open or this site takes part no more."""
        merged = self._synchronizer.hold()
        self._exchange.adopt(views)
        for view in views[1:]:
            if self._exchange.site in view.sites and view.from_turns[self._part] > merged:
                self._synchronizer.set_cohort(view.sites, view.from_turns[self._part])
        if is_open or self._exchange.site not in views[-1].sites:
            self._synchronizer.hold()
        else:
            self._synchronizer.release()

    def tend(self) -> None:
        """Give the outer state to sites that join, once it is there. To be called once a step."""
        turn = self._join_turn()
        if turn is None or self._synchronizer.committed >= turn:
            self._exchange.offer_healing(None, dict)
        elif self._synchronizer.committed == turn - 1:
            if self._synchronizer.hold() == turn - 1:
                self._exchange.offer_healing(turn, self._synchronizer.heal_state)
            self._synchronizer.release()

    def heal(self, *, trained: int, merged: int, timeout_s: float | None) -> int:
        """Take over the outer state from another site, and go on with the round after the one returned.

        Of `trained` samples, `merged` were merged with the others' before this site was removed; the rest are lost.

        Raises:
            UserError: no site gave its state within `timeout_s` seconds (None: however long it takes).
        """
        turn = self.views[-1].from_turns[self._part]
        state = self._exchange.heal(turn, timeout_s)
        self._synchronizer.load_healed(state, trained=trained)
        self._synchronizer.release()
        self.samples_lost += trained - merged
        LOG.warning(
            "%s: healed, and joins at turn %d; what it learnt from %d samples alone is lost",
            self._exchange.site,
            turn,
            trained - merged,
        )
        return self._synchronizer.round

    def _join_turn(self) -> int | None:
        """The turn with which the newest view lets someone in."""
        if len(self.views) < 2 or not set(self.views[-1].sites) - set(self.views[-2].sites):
            return None
        return self.views[-1].from_turns[self._part]
