"""The peers' frames at rest, kept until they are merged, and some for longer: for others that lack them."""

import threading
import time
from collections.abc import Iterable, Mapping

from workloads.sync.council import View, cohort_of, first_views, next_turn_of
from workloads.sync.frame import Frame
from workloads.sync.spool import Spool

_ROUNDS_AHEAD = 2  # a peer cannot have published more than this without hearing from here
# A site may be ahead of another by the turns of a round: each waits for the other's frame, at most one a fragment.
_RELAYED_ROUNDS = 2


class Inbox:
    """The peers' frames of coming turns, and with two peers or more those of some past ones: others may lack them.

    Whose frames a turn needs is said by the views. Safe for any number of threads.
    """

    def __init__(
        self,
        site: str,
        peers: Iterable[str],
        fragments: int = 1,
        part: int = 0,
        spools: Mapping[str, Spool] | None = None,
    ) -> None:
        self._changed = threading.Condition()
        self._site = site
        self._part = part
        self._ahead = _ROUNDS_AHEAD * fragments
        self._relayed = _RELAYED_ROUNDS * fragments
        self._frames: dict[str, dict[int, Frame]] = {peer: {} for peer in peers}
        self._merged = {peer: (spools or {}).get(peer) or Spool(None) for peer in self._frames}
        self._views = first_views([site, *self._frames], part + 1)
        self._next = 1  # oldest turn that is not merged
        self._begun = 0
        self._waiting_since: float | None = None
        self._closed = False

    def adopt(self, views: tuple[View, ...]) -> None:
        """Go by `views` from now on."""
        with self._changed:
            self._views = views
            self._changed.notify_all()

    def put(self, frame: Frame) -> None:
        """Take in a frame that has been checked; one of a turn that is merged is of no use any more."""
        with self._changed:
            if frame.turn >= self._next:
                self._frames[frame.header.site][frame.turn] = frame
            self._changed.notify_all()

    def start(self, turn: int) -> None:
        """The first turn to be merged here is `turn`."""
        with self._changed:
            self._next = turn

    def begun(self, turn: int) -> None:
        """This site's own frame of `turn` is there: from now on the others' are waited for."""
        with self._changed:
            self._begun = max(self._begun, turn)
            if self._waiting_since is None and self._begun >= self._next:
                self._waiting_since = time.monotonic()

    def overdue(self) -> tuple[int, dict[str, float]]:
        """The oldest turn that is not merged, and who has not sent its frame for how many seconds."""
        with self._changed:
            if self._waiting_since is None:
                return self._next, {}
            waited_s = time.monotonic() - self._waiting_since
            return self._next, dict.fromkeys(self._missing(self._next), waited_s)

    def wait_for_turn(self, peer: str, turn: int) -> int | None:
        """Wait until a frame of `peer` may come: its first from `turn` on that is still of use. None: closed."""
        wanted: int | None = None

        def is_over() -> bool:
            nonlocal wanted
            first = max(turn, self._next)
            while first in self._frames[peer]:  # it was passed on by another
                first += 1
            wanted = next_turn_of(self._views, (peer, self._site), first, self._part)
            return self._closed or (wanted is not None and len(self._frames[peer]) < self._ahead)

        with self._changed:
            self._changed.wait_for(is_over)
            return None if self._closed else wanted

    def collect(self, turn: int, timeout_s: float | None) -> dict[str, Frame] | None:
        """Every peer's frame of `turn`, by site; None: not all there within `timeout_s` (None: no limit)."""
        with self._changed:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            while self._missing(turn) or self._site not in cohort_of(self._views, turn, self._part):
                remaining = None if deadline is None else deadline - time.monotonic()
                if self._closed or (remaining is not None and remaining <= 0):
                    return None
                self._changed.wait(remaining)
            return {peer: self._frames[peer][turn] for peer in self._others(turn)}

    def passed_on(self, site: str, turn: int) -> Frame | None:
        """The frame of `site` as it came, for others that lack it."""
        with self._changed:
            return self._frames[site].get(turn) or self._merged[site].get(turn)

    def has_all_of_removed(self, turn: int) -> bool:
        """Whether every frame from `turn` on of a site that takes part no more can be passed on."""
        with self._changed:
            return all(
                number in self._frames[site] or number in self._merged[site].turns
                for number in range(turn, self._views[-1].from_turns[self._part])
                for site in set(self._others(number)) - set(self._views[-1].sites)
            )

    def discard(self, turn: int) -> None:
        """Drop frames of turns up to `turn`: they are merged."""
        with self._changed:
            # Of two sites nobody else can lack a frame.
            oldest = turn - self._relayed + 1 if len(self._frames) > 1 else turn + 1
            for peer, frames in self._frames.items():
                for number in [number for number in frames if number <= turn]:
                    frame = frames.pop(number)
                    if number >= oldest:
                        self._merged[peer].put(frame)
            for kept in self._merged.values():
                for number in [number for number in kept.turns if number < oldest]:
                    kept.drop(number)
            self._next = max(self._next, turn + 1)
            self._waiting_since = time.monotonic() if self._begun >= self._next else None
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _others(self, turn: int) -> list[str]:
        return [site for site in cohort_of(self._views, turn, self._part) if site != self._site]

    def _missing(self, turn: int) -> list[str]:
        return [site for site in self._others(turn) if turn not in self._frames[site]]
