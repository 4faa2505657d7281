"""Who takes part, as all ranks of a site see it: lost sites leave, and this site is healed if the others went on."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from workloads.spec.errors import UserError
from workloads.sync.council import View
from workloads.sync.membership import Membership
from workloads.sync.rendezvous import MustHealError
from workloads.trainer.part import Part
from workloads.trainer.world import World

_LOOK_S = 1.0  # between two looks of a site with several ranks, which all have to take part in it


class SiteCohort:
    """The membership of a site. Methods are called by all ranks together; `part` is this rank's, if it owns one."""

    def __init__(self, world: World, part: Part | None, peers: tuple[str, ...]) -> None:
        self._world = world
        self._part = part
        self._peers = peers
        self._looked_at = 0.0

    @property
    def membership(self) -> Membership | None:
        """What speaks for the site, on the first rank."""
        return self._part.member if self._part is not None and isinstance(self._part.member, Membership) else None

    def tend(self) -> bool:
        """Act on what was heard and missed; to be called between two steps. Whether this site has to `heal`."""
        if not self._peers:
            return False
        membership = self.membership
        if self._world.size == 1:
            if membership is None:
                return False
            membership.poll()
            return membership.is_out
        if not self._is_time():
            return False
        overdue = self._overdue()
        if self._share(bool(membership and membership.stirs(overdue))):
            merged = self._merged_by_part()
            if membership is not None:
                membership.consider(merged, overdue)
            self._adopt(membership.agreed if membership is not None else ())
        if self._part is not None:
            self._part.member.tend()
        return self._share(bool(membership and membership.is_out))

    def settle(self) -> None:
        """Take on the views that were agreed on at the start, once the state is loaded."""
        self._adopt(self._views())

    def start(self, usable: list[int], run_id: str) -> int | None:
        """The newest of the `usable` rounds after which all sites go on, for every part; None: this site must `heal`."""
        while True:
            number = -1
            if self._part is not None:
                try:
                    number = self._part.agree_on_round(usable, run_id)
                except MustHealError:
                    number = -2
            numbers = [each for each in self._gather(number) if each != -1]
            if min(numbers) == -2:
                return None
            if len(set(numbers)) == 1:
                return numbers[0]
            usable = [each for each in usable if each <= min(numbers)]  # what a part can do, all must be able to

    def heal(self, *, trained: int, merged: int, say: Callable[[str], None], is_over: Callable[[], bool]) -> int | None:
        """Be let in again and take over the others' outer state; the round after which this site goes on.

        None: `is_over`, they have ended the run without it.
        """
        membership = self.membership
        is_in = True
        if membership is not None:
            say("the others went on without this site; it heals from them")
            is_in = _is_let_in(membership, is_over)
        if not self._share(is_in):
            return None
        self._adopt(self._views())
        number = -1
        if self._part is not None:
            number = self._part.member.heal(trained=trained, merged=merged, timeout_s=None)
        return max(self._gather(number))

    @property
    def sites(self) -> tuple[str, ...]:
        """Who takes part now, as this rank's part knows; only for the owner of one."""
        return self._part.member.views[-1].sites if self._part is not None else ()

    def _is_time(self) -> bool:
        now = time.monotonic()
        due = self._share(now - self._looked_at >= _LOOK_S)
        if due:
            self._looked_at = now
        return due

    def _overdue(self) -> dict[str, float]:
        """How long any part has waited for whose frames, in seconds."""
        mine = self._part.exchange.overdue() if self._part is not None else {}
        waited = torch.tensor([mine.get(peer, -1.0) for peer in self._peers], device=self._world.device)
        longest = self._world.gather(waited).max(dim=0).values.tolist()
        return {peer: seconds for peer, seconds in zip(self._peers, longest, strict=True) if seconds >= 0}

    def _merged_by_part(self) -> list[int]:
        """The newest merged turn of each part, all of which are held."""
        part = self._part
        mine = [-1, -1] if part is None else [part.exchange.part, part.member.hold()]
        every = self._world.gather(torch.tensor(mine, device=self._world.device)).tolist()
        merged = dict(pair for pair in every if pair[0] >= 0)
        return [merged[number] for number in sorted(merged)]

    def _views(self) -> tuple[View, ...]:
        return self.membership.views if self.membership is not None else ()

    def _adopt(self, views: tuple[View, ...]) -> None:
        """Have all parts go by `views`, those of the first rank."""
        is_open = self._share(bool(self.membership and self.membership.is_open))
        told: list[Any] = [views]
        if self._world.size > 1:
            dist.broadcast_object_list(told, src=0, device=self._world.device)
        if self._part is not None:
            self._part.member.adopt(told[0], is_open=is_open)

    def _share(self, flag: bool) -> bool:  # noqa: FBT001 - a value, not a mode
        return bool(self._world.share(int(flag)))

    def _gather(self, number: int) -> list[int]:
        numbers: list[int] = self._world.gather(torch.tensor(number, device=self._world.device)).tolist()
        return numbers


def _is_let_in(membership: Membership, is_over: Callable[[], bool]) -> bool:
    while True:
        try:
            membership.ask_in(_LOOK_S)
        except UserError:  # not yet
            if is_over():
                return False
        else:
            return True
