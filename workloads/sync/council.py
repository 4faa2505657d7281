"""Who takes part in which turn, agreed by the sites themselves. A state machine of values: no clock, no network.

A view is the cohort from one turn on. Views are numbered by epoch and each follows from the one before by one ballot:
sites that are lost leave, or sites that wait join. Sites tell each other what they stand for (`Standing`), and these
rules hold:

1. A ballot spreads: who hears of one makes it its own, and ballots only ever grow, so a site never votes against itself.
2. A vote is a promise. It names the newest turn that the voter has committed, and until the ballot is decided the voter
   commits nothing more.
3. A ballot that removes sites is allowed if those that remain are more than half of the cohort, if of two sites the
   survivor named in the recipe remains, or if an operator or the removed site itself wants it so.
4. It is decided when all that remain (or, for a join, the whole cohort) have cast the same vote, by the first of them
   alone; the others adopt what it says, from whomever they hear it. As all that remain must vote, any site that lives on
   knows of every decision that another could act upon.
5. A removal holds from the first turn that no voter has committed: who committed an earlier one has the lost site's frame
   and passes it on. That is found for each part of the model by itself. A join holds from the first round that no voter
   has begun, for all parts.

Two groups cannot both go on: each would need more than half. A site that was removed meanwhile has at most committed
turns that nobody else holds to; it gives its state up and heals.
"""

import math
from collections.abc import Collection, Iterable
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from workloads.spec.base import Frozen, SiteName


class View(Frozen):
    """The cohort `sites`, in order, from turn `from_turns[i]` of part i of the model on."""

    epoch: NonNegativeInt
    sites: tuple[SiteName, ...]
    from_turns: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Vote(Frozen):
    """What a site wants changed after view `epoch`, and how far it has come."""

    epoch: NonNegativeInt
    lost: frozenset[SiteName] = frozenset()
    ordered: frozenset[SiteName] = frozenset()  # of `lost`: by an operator, or by the site itself
    joining: frozenset[SiteName] = frozenset()  # empty if any is lost
    committed: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]  # newest turn, by part of the model
    begun: NonNegativeInt

    @property
    def wants(self) -> tuple[frozenset[str], frozenset[str]]:
        """What a ballot is decided by."""
        return self.lost, self.joining


class Standing(Frozen):
    """All that a site tells of itself: the views that it holds, oldest first, and its vote.

    `wants_in`: it has no state to go on from and asks to be healed.
    """

    views: tuple[View, ...]
    vote: Vote | None = None
    wants_in: bool = False


def first_views(sites: Iterable[str], parts: int = 1) -> tuple[View, ...]:
    """The views at the start of a run."""
    return (View(epoch=0, sites=tuple(sorted(sites)), from_turns=(1,) * parts),)


def cohort_of(views: tuple[View, ...], turn: int, part: int = 0) -> tuple[str, ...]:
    """The sites that take part in `turn` of `part`, in order."""
    return next(view.sites for view in reversed(views) if view.from_turns[part] <= turn)


def next_turn_of(views: tuple[View, ...], sites: Collection[str], turn: int, part: int = 0) -> int | None:
    """The first turn of `part` from `turn` on in which all `sites` take part, as far as is known; None: none."""
    firsts = [view.from_turns[part] for view in views]
    for view, start, until in zip(views, firsts, [*firsts[1:], math.inf], strict=True):
        first = max(turn, start)
        if set(sites) <= set(view.sites) and first < until:
            return first
    return None


def restarted(views: tuple[View, ...], turn: int) -> tuple[View, ...]:
    """The views when all sites of the newest one start again at `turn`: nobody has any later frame of a removed site."""
    return tuple(
        view.model_copy(update={"from_turns": tuple(min(first, turn) for first in view.from_turns)})
        if index and set(view.sites) < set(views[index - 1].sites)
        else view
        for index, view in enumerate(views)
    )


class Council:
    """The part of `site` in the agreement. `fragments`: turns of a round; `survivor`: as the recipe names it."""

    def __init__(self, site: str, views: tuple[View, ...], *, fragments: int = 1, survivor: str | None = None) -> None:
        self.site = site
        self.views = views
        self.vote: Vote | None = None
        self.wants_in = False
        self._fragments = fragments
        self._survivor = survivor
        self._heard: dict[str, Standing] = {}

    @property
    def newest(self) -> View:
        """The newest view."""
        return self.views[-1]

    @property
    def is_out(self) -> bool:
        """Whether this site takes no part any more."""
        return self.site not in self.newest.sites

    @property
    def standing(self) -> Standing:
        """What to tell the others."""
        return Standing(views=self.views, vote=self.vote, wants_in=self.wants_in)

    def hear(self, site: str, standing: Standing) -> None:
        """Note what `site` says; `consider` acts on it."""
        self._heard[site] = standing

    def consider(
        self,
        *,
        committed: tuple[int, ...],
        begun: int,
        lost: Collection[str] = (),
        ordered: Collection[str] = (),
    ) -> bool:
        """Act on all that was heard, as a site that has come this far and misses `lost`; whether there is a new view.

        `committed` are newest turns, by part of the model.

        Call it only between two commits, and commit nothing while `vote` is not None.
        """
        before = self.newest
        self.learn()
        if not self.is_out:
            self._cast(committed, begun, frozenset(lost), frozenset(ordered))
            self._decide()
        if self.newest != before:
            self.vote = None
        return self.newest != before

    def learn(self) -> None:
        """Take over the newest views that were heard of."""
        for standing in self._heard.values():
            theirs = standing.views
            if theirs[-1].epoch > self.newest.epoch:
                self.views = theirs
            elif theirs[-1].epoch == self.newest.epoch and theirs[-1].from_turns < self.newest.from_turns:
                self.views = theirs  # all started again from an earlier round, this site as the last

    def _cast(self, committed: tuple[int, ...], begun: int, lost: frozenset[str], ordered: frozenset[str]) -> None:
        sites = frozenset(self.newest.sites)
        asking = frozenset(site for site, heard in self._heard.items() if heard.wants_in and self._is_current(heard))
        nothing = Vote(epoch=self.newest.epoch, committed=committed, begun=begun)
        wishes = [
            *({"lost": sites & given_up, "ordered": sites & given_up} for given_up in (asking, ordered)),
            # All of them or none: a site that hears from too few to go on is itself the one that is lost.
            {"lost": sites & lost},
            {"joining": asking - sites},
        ]
        for wish in [*self._votes().values(), *(nothing.model_copy(update=wish) for wish in wishes)]:
            grown = self._grown(self.vote or nothing, wish)
            if (grown.lost or grown.joining) and self._is_allowed(grown):
                self.vote = grown

    def _is_current(self, heard: Standing) -> bool:
        """Not said before a view that has since settled it."""
        return heard.views[-1].epoch >= self.newest.epoch

    def _votes(self) -> dict[str, Vote]:
        """The others' votes upon the newest view, by site."""
        return {
            site: heard.vote
            for site, heard in sorted(self._heard.items())
            if site in self.newest.sites and heard.vote is not None and heard.vote.epoch == self.newest.epoch
        }

    @staticmethod
    def _grown(mine: Vote, more: Vote) -> Vote:
        """`mine` with what `more` wants as well."""
        lost, ordered = mine.lost | more.lost, mine.ordered | more.ordered
        joining = frozenset[str]() if lost else mine.joining | more.joining
        return mine.model_copy(update={"lost": lost, "ordered": ordered, "joining": joining})

    def _is_allowed(self, vote: Vote) -> bool:
        remaining = set(self.newest.sites) - vote.lost
        if self.site not in remaining:
            return False
        of_two = len(self.newest.sites) == 2 and remaining == {self._survivor}
        return 2 * len(remaining) > len(self.newest.sites) or of_two or vote.lost <= vote.ordered

    def _decide(self) -> None:
        mine = self.vote
        if mine is None:
            return
        remaining = sorted(set(self.newest.sites) - mine.lost)
        votes = {**self._votes(), self.site: mine}
        if remaining[0] != self.site or any(site not in votes or votes[site].wants != mine.wants for site in remaining):
            return
        removed_from = tuple(
            max(turns) + 1 for turns in zip(*(votes[site].committed for site in remaining), strict=True)
        )
        newest = max(*(votes[site].begun for site in remaining), *(turn - 1 for turn in removed_from))
        joined_from = (math.ceil(newest / self._fragments) * self._fragments + 1,) * len(removed_from)
        view = View(
            epoch=self.newest.epoch + 1,
            sites=tuple(sorted({*remaining, *mine.joining})),
            from_turns=removed_from if mine.lost else joined_from,
        )
        self.views = (*self.views, view)
