"""At which steps a site has begun and committed its turns since its oldest state: what it must repeat if it is killed.

Which step a turn is committed at, late or not, is the link's doing, and what the site learns and sends afterwards depends
on it. A site that goes back to a state and finds all frames there would commit earlier than it did, and send other frames
than those that its peers have merged. So the log is durable before a frame that depends on it is sent, and followed to its
end when training resumes.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt

from workloads.spec.base import Frozen, Sha256

Kind = Literal["begin", "commit"]


class Event(NamedTuple):
    """The oldest turn that was not, was begun or committed, after `step` steps."""

    kind: Kind
    step: NonNegativeInt


class TurnLog(Frozen):
    """Events in their order, after turns `begun` and `committed` before the first.

    `training` digests all that the course of training depends on. A site that starts to log anew counts that in `restarts`.
    """

    training: Sha256
    restarts: NonNegativeInt = 0
    begun: NonNegativeInt = 0
    committed: NonNegativeInt = 0
    events: tuple[Event, ...] = ()

    @property
    def newness(self) -> tuple[int, int]:
        """What the later of two logs of a site has more of."""
        return self.restarts, self.begun + self.committed + len(self.events)

    def place(self, begun: int, committed: int) -> int | None:
        """How many events lead to so many turns; None: the log does not cover that."""
        steps = ((1, 0) if event.kind == "begin" else (0, 1) for event in self.events)
        counts = accumulate(steps, lambda so_far, more: (so_far[0] + more[0], so_far[1] + more[1]), initial=(0, 0))
        wanted = begun - self.begun, committed - self.committed
        return next((place for place, count in enumerate(counts) if count == wanted), None)

    def without_first(self, count: int) -> "TurnLog":
        """The log without its first `count` events."""
        begun = sum(event.kind == "begin" for event in self.events[:count])
        changes = {"begun": self.begun + begun, "committed": self.committed + count - begun}
        return self.model_copy(update={**changes, "events": self.events[count:]})


class Journal:
    """The log as it is followed and written on. `write` makes one durable, in any thread; None: another rank's does.

    Events that led to more than `depth` commits ago are let go of.
    """

    def __init__(self, log: TurnLog, *, depth: int, write: Callable[[TurnLog], None] | None = None) -> None:
        self._log = log
        self._depth = depth
        self._write = write
        self._place = len(log.events)
        self._fault: str | None = None

    @property
    def next(self) -> Event | None:
        """What was done next before the site was killed, and has to be done again; None: nothing more."""
        return self._log.events[self._place] if self._place < len(self._log.events) else None

    def resume(self, begun: int, committed: int) -> None:
        """Follow the log from a state with so many turns; if it says nothing of that, begin anew."""
        place = self._log.place(begun, committed)
        if place is None:
            self.restart(begun, committed)
        else:
            self._place = place

    def restart(self, begun: int, committed: int) -> None:
        """Begin anew after so many turns."""
        changes = {"restarts": self._log.restarts + 1, "begun": begun, "committed": committed, "events": ()}
        self._log = self._log.model_copy(update=changes)
        self._place = 0

    def note(self, kind: Kind, step: int) -> None:
        """A turn is being begun, or was committed, after `step` steps; if that is not what is `next`, the rest is void."""
        event = Event(kind, step)
        if event != self.next:
            self._log = self._log.model_copy(update={"events": (*self._log.events[: self._place], event)})
            self._forget()
        self._place += 1

    def keeper(self) -> Callable[[], None] | None:
        """A call that makes the log as it is now durable, to be made before what depends on it is sent."""
        log, write = self._log, self._write
        if write is None:
            return None

        def keep() -> None:
            try:
                write(log)
            except Exception as error:  # noqa: BLE001 - a store may fail in any way, and training must not fail with it
                self._fault = " ".join(str(error).split()) or type(error).__name__

        return keep

    def take_fault(self) -> str | None:
        """Why the log could not be kept, if that happened since the last call."""
        fault, self._fault = self._fault, None
        return fault

    def _forget(self) -> None:
        commits = sum(event.kind == "commit" for event in self._log.events)
        count = 0
        for event in self._log.events[: self._place]:
            if commits <= self._depth:
                break
            count += 1
            commits -= event.kind == "commit"
        self._log = self._log.without_first(count)
        self._place -= count
