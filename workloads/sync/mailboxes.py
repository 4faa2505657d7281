"""Frames at rest: a site's own, kept until every peer has them, and its peers', kept until they are merged."""

import threading
import time
from collections.abc import Callable, Iterable

from workloads.sync.frame import Frame

RETAINED_ROUNDS = 3  # own frames kept although all peers have them: a peer may restart up to two checkpoints behind
_ROUNDS_AHEAD = 2  # a peer cannot have published more than this without hearing from here


class GoneError(Exception):
    """A frame is not kept any more, or none is."""


class Outbox:
    """A site's own frames. Safe for any number of threads."""

    def __init__(self, peers: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._frames: dict[int, Frame] = {}
        self._acknowledged = dict.fromkeys(peers, 0)  # newest round whose frame a peer has, with all before it
        self._closed = False

    def publish(self, *frames: Frame) -> None:
        """Offer `frames`, all at once, in place of earlier ones of their rounds; drop what nobody can need any more."""
        with self._changed:
            self._frames |= {frame.header.round: frame for frame in frames}
            self._drop()
            self._changed.notify_all()

    def acknowledge(self, peer: str, round_number: int) -> None:
        """`peer` has the frames up to `round_number`; fewer than before if it has restarted."""
        with self._changed:
            self._acknowledged[peer] = round_number
            self._changed.notify_all()

    def promise(self, peer: str) -> tuple[int, ...] | None:
        """Rounds after which a restarted `peer` can go on; their frames are kept until it acknowledges. None: no frame."""
        with self._changed:
            if not self._frames:
                return None
            oldest, newest = min(self._frames), max(self._frames)
            self._acknowledged[peer] = oldest - 1
            return tuple(range(oldest - 1, newest + 1))

    def wait_for(self, round_number: int, timeout_s: float, is_wanted: Callable[[], bool]) -> Frame | None:
        """The frame of `round_number`; None: not there in time, or not wanted any more. Raises `GoneError`."""

        def is_over() -> bool:
            return self._closed or round_number in self._frames or not is_wanted()

        with self._changed:
            self._changed.wait_for(is_over, timeout_s)
            if self._closed:
                raise GoneError("the site is closing")
            if self._frames and round_number < min(self._frames):
                raise GoneError(f"round {round_number} is not kept; oldest is {min(self._frames)}")
            return self._frames.get(round_number)

    def wait_delivered(self, timeout_s: float | None) -> bool:
        """Whether every peer has every frame, within `timeout_s` (None: however long it takes)."""

        def is_delivered() -> bool:
            return self._closed or min(self._acknowledged.values(), default=newest) >= newest

        with self._changed:
            newest = max(self._frames, default=0)
            return self._changed.wait_for(is_delivered, timeout_s) and not self._closed

    def frames(self) -> tuple[Frame, ...]:
        """What is kept, oldest first."""
        with self._changed:
            return tuple(self._frames[number] for number in sorted(self._frames))

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop(self) -> None:
        border = max(self._frames, default=0) - RETAINED_ROUNDS
        kept_from = min([border, *self._acknowledged.values()]) + 1
        for number in [number for number in self._frames if number < kept_from]:
            del self._frames[number]


class Inbox:
    """The peers' frames of coming rounds. Safe for any number of threads."""

    def __init__(self, peers: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._frames: dict[str, dict[int, Frame]] = {peer: {} for peer in peers}
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Take in a frame that has been checked."""
        with self._changed:
            self._frames[frame.header.site][frame.header.round] = frame
            self._changed.notify_all()

    def wait_for_room(self, peer: str) -> bool:
        """Wait until another frame of `peer` may come; False: closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._frames[peer]) < _ROUNDS_AHEAD)
            return not self._closed

    def collect(self, round_number: int, timeout_s: float | None) -> dict[str, Frame] | None:
        """Every peer's frame of `round_number`, by site; None: not all there within `timeout_s` (None: no limit)."""
        with self._changed:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            while any(round_number not in frames for frames in self._frames.values()):
                remaining = None if deadline is None else deadline - time.monotonic()
                if self._closed or (remaining is not None and remaining <= 0):
                    return None
                self._changed.wait(remaining)
            return {peer: frames[round_number] for peer, frames in self._frames.items()}

    def discard(self, round_number: int) -> None:
        """Drop frames of rounds up to `round_number`: they are merged."""
        with self._changed:
            for frames in self._frames.values():
                for number in [number for number in frames if number <= round_number]:
                    del frames[number]
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
