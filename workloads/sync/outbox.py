"""A site's own frames at rest, kept until every peer has them, and for as long as one may come back without them."""

import math
import threading
from collections.abc import Callable, Iterable

from workloads.sync.frame import Frame
from workloads.sync.spool import Spool


def retained_turns(fragments: int, checkpoint_rounds: int) -> int:
    """Newest own frames that are kept although all peers have them, if each saves its state every `checkpoint_rounds`.

    A state is written while training goes on, and the next waits until it is durable. So a peer may have to go back to
    round k with k + 2 intervals committed; by then it has begun at most a round of turns less one beyond that, and this
    site a round of turns more.
    """
    return 2 * fragments * (checkpoint_rounds + 1) - 1


class GoneError(Exception):
    """A frame is not kept any more, or none is."""


class Outbox:
    """A site's own frames, the newest `retained` and all that a peer lacks. Safe for any number of threads.

    Those that all peers have lie in `spool`, seldom to be read again.
    """

    def __init__(self, peers: Iterable[str], fragments: int, retained: int, spool: Spool) -> None:
        self._changed = threading.Condition()
        self._fragments = fragments
        self._retained = retained
        self._frames: dict[int, Frame] = {}  # by turn: those that some peer may lack
        self._spool = spool  # all earlier ones
        self._acknowledged = dict.fromkeys(peers, 0)  # newest turn whose frame a peer has, with all before it
        self._closed = False

    def publish(self, *frames: Frame) -> None:
        """Offer `frames`, all at once, in place of earlier ones of their turns; drop what nobody can need any more."""
        with self._changed:
            for frame in frames:
                self._spool.drop(frame.turn)
            self._frames |= {frame.turn: frame for frame in frames}
            self._drop()
            self._changed.notify_all()
        self._put_aside()

    def acknowledge(self, peer: str, turn: int) -> None:
        """`peer` has the frames up to `turn`; fewer than before if it has restarted."""
        with self._changed:
            if peer in self._acknowledged:
                self._acknowledged[peer] = turn
                self._changed.notify_all()

    def adopt(self, peers: dict[str, int]) -> None:
        """Keep frames for `peers` alone; a new one has them up to the turn given."""
        with self._changed:
            self._acknowledged = {peer: self._acknowledged.get(peer, turn) for peer, turn in peers.items()}
            self._drop()
            self._changed.notify_all()

    def promise(self, peer: str) -> tuple[int, ...] | None:
        """Rounds after which a restarted `peer` can go on; their frames are kept until it acknowledges. None: no frame."""
        with self._changed:
            turns = self._turns()
            if not turns:
                return None
            oldest, newest = turns[0], turns[-1]
            if peer in self._acknowledged:
                self._acknowledged[peer] = oldest - 1
            return tuple(range(math.ceil((oldest - 1) / self._fragments), newest // self._fragments + 1))

    def wait_for(self, turn: int, timeout_s: float, is_wanted: Callable[[], bool]) -> Frame | None:
        """The frame of `turn`; None: not there in time, or not wanted any more. Raises `GoneError`."""

        def is_past() -> bool:
            return bool(turns := self._turns()) and turn < turns[0]

        def is_over() -> bool:
            return self._closed or is_past() or turn in self._turns() or not is_wanted()

        with self._changed:
            self._changed.wait_for(is_over, timeout_s)
            if self._closed:
                raise GoneError("the site is closing")
            if is_past():
                raise GoneError(f"turn {turn} is not kept; oldest is {self._turns()[0]}")
            return self._frames.get(turn) or self._spool.get(turn)

    def wait_delivered(self, timeout_s: float | None) -> bool:
        """Whether every peer has every frame, within `timeout_s` (None: however long it takes)."""

        def is_delivered() -> bool:
            return self._closed or min(self._acknowledged.values(), default=newest) >= newest

        with self._changed:
            newest = max(self._turns(), default=0)
            return self._changed.wait_for(is_delivered, timeout_s) and not self._closed

    def frames(self) -> tuple[Frame, ...]:
        """What is kept, oldest first."""
        with self._changed:
            frames = (self._frames.get(turn) or self._spool.get(turn) for turn in self._turns())
            return tuple(frame for frame in frames if frame is not None)

    def clear(self) -> None:
        """Drop everything: it grew from a state that was given up."""
        with self._changed:
            self._frames.clear()
            self._spool.clear()
            self._changed.notify_all()

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _turns(self) -> list[int]:
        return sorted({*self._spool.turns, *self._frames})

    def _drop(self) -> None:
        border = max(self._turns(), default=0) - self._retained
        kept_from = min([border, *self._acknowledged.values()]) + 1
        for turn in [turn for turn in self._turns() if turn < kept_from]:
            self._frames.pop(turn, None)
            self._spool.drop(turn)

    def _put_aside(self) -> None:
        """Spool what all peers have, to a file not while others wait."""
        with self._changed:
            known = min(self._acknowledged.values(), default=max(self._frames, default=0))
            done = [self._frames[turn] for turn in sorted(self._frames) if turn <= known]
        for frame in done:
            self._spool.put(frame)
        with self._changed:
            for frame in done:
                if self._frames.get(frame.turn) is frame:
                    del self._frames[frame.turn]
                else:  # dropped meanwhile
                    self._spool.drop(frame.turn)
