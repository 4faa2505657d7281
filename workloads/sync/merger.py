"""The half of a synchronizer that works off the training thread: turns are sent, and merged as their frames come in."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from torch import Tensor

from workloads.spec.errors import UserError
from workloads.sync.exchange import Exchange
from workloads.sync.fragments import round_of
from workloads.sync.frame import Frame
from workloads.sync.outer_state import OuterState
from workloads.sync.progress import Cohort, Progress, TurnReport
from workloads.sync.quantise import NonFiniteError
from workloads.sync.worker import Worker


class Merger:
    """Sends turns of `site` through `exchange` and merges them into `state`, in order, as soon as all frames are there.

    While it is not held, `state`, `own` and `reports` are its thread's. What fails there is raised by the next call.
    """

    def __init__(self, site: str, state: OuterState, exchange: Exchange) -> None:
        self.own: dict[int, Frame] = {}  # of turns that are sent and not merged
        self.reports: deque[tuple[TurnReport, str]] = deque()  # of turns merged and not taken, with fragments' digests
        self._site = site
        self._state = state
        self._exchange = exchange
        self._snapshots: dict[int, Tensor] = {}  # of turns that are not merged
        self._worker = Worker(f"synchronizer-{site}", is_expecting=lambda: bool(self.own), look=self._look)

    def send(self, turn: int, snapshot: Tensor, samples: int, keep: Callable[[], None] | None = None) -> None:
        """Quantise and publish what `snapshot`, left alone until the turn is merged, has learnt from `samples`.

        `keep` is called before that.
        """
        self._snapshots[turn] = snapshot
        if keep is not None:
            self._worker.submit(keep)
        self._worker.submit(lambda: self._send(turn, samples))

    def wait(self, turn: int, timeout_s: float | None) -> bool:
        """Whether `turn`, the oldest that is not taken, is merged within `timeout_s` seconds (None: no limit)."""
        started = time.monotonic()
        self._worker.wait_for_jobs()  # what could not be sent must not be waited for
        if self._state.merged < turn and self._exchange.collect(turn, timeout_s) is not None:
            self._worker.look_now()
            # A merge takes no link, so that it is waited for in any case; but a change of the cohort may put it off.
            self._worker.wait_for(lambda: self._state.merged >= turn or self._worker.is_held, None)
            left_s = None if timeout_s is None else started + timeout_s - time.monotonic()
            self._worker.wait_for(lambda: self._state.merged >= turn, left_s)
        return self._state.merged >= turn

    def take(self) -> tuple[TurnReport, str]:
        """The report of the oldest merged turn that is not taken, and the digest of its fragment's outer state."""
        report, digest = self.reports.popleft()
        self._exchange.discard(report.turn)  # not when it is merged: `wait` may be about to wait for these very frames
        return report, digest

    def hold(self, holder: str) -> int:
        """Send what is to be sent, and merge nothing more until `release`. Returns how many turns are merged."""
        self._worker.hold(holder)
        return self._state.merged

    def release(self, holder: str) -> None:
        """Go on, if nobody else holds."""
        self._worker.release(holder)

    def set_cohort(self, cohort: Cohort) -> None:
        """Merge the frames of `cohort` from its first turn on. Raises `ValueError` as `OuterState.set_cohort` does."""
        with self._worker.changed:
            self._worker.wait_for_jobs()
            self._state.set_cohort(cohort, self.own.values())

    def heal_state(self) -> dict[str, Tensor]:
        """What is the same at every site after the turns that are merged, copied."""
        with self._worker.changed:
            self._worker.wait_for_jobs()
            turn, state = self._state.merged, self._state
            progress = Progress(
                begun=turn,
                merged=turn,
                committed=turn,
                offered=(0,) * len(state.fragments),
                histories=tuple(state.histories),
                digests=tuple(state.digests()),
                cohorts=tuple(state.cohorts),
            )
            return {name: tensor.clone() for name, tensor in state.shared_tensors().items()} | progress.encoded()

    def restart(
        self, own: dict[int, Frame], snapshots: dict[int, Tensor], reports: Sequence[tuple[TurnReport, str]]
    ) -> None:
        """Go on, held, from a state that was kept, with its turns that were sent and not merged."""
        self.own, self._snapshots, self.reports = own, snapshots, deque(reports)
        self.follow()

    def follow(self) -> None:
        """Fetch the frames of turns that are not merged."""
        self._exchange.follow(self._state.form_of, self._state.merged + 1)

    def close(self) -> None:
        """End the thread; a job that has begun is finished."""
        self._worker.close()

    def _send(self, turn: int, samples: int) -> None:
        number, fragment = round_of(turn, len(self._state.fragments)), self._state.fragment(turn)
        try:
            update = self._state.quantise(turn, self._snapshots[turn])
        except NonFiniteError as error:
            raise UserError(f"site {self._site}, round {number}: {error}; lower the inner learning rate") from None
        frame = Frame.of(
            update,
            run_id=self._exchange.run_id,
            site=self._site,
            round_number=number,
            samples=samples,
            history=self._state.histories[fragment],
            fragment=fragment,
            fragments=len(self._state.fragments),
            shard=self._exchange.part,
        )
        self._exchange.publish(frame)
        self.follow()
        self.own[turn] = frame

    def _look(self) -> None:
        """Merge the oldest turn that is not, if all its frames are there."""
        turn = self._state.merged + 1
        others = self._exchange.collect(turn, 0)
        cohort = self._state.cohort(turn)
        if others is None or not others.keys() >= set(cohort) - {self._site}:
            return
        own = self.own[turn]
        frames = [own if site == self._site else others[site] for site in cohort]
        self._ensure_common_history(frames)
        digest = self._state.merge(turn, frames, self._snapshots.pop(turn))
        received = sum(frame.header.payload_bytes for frame in frames) - own.header.payload_bytes
        report = TurnReport(
            turn=turn,
            round=own.header.round,
            fragment=own.header.fragment,
            samples={frame.header.site: frame.header.samples for frame in frames},
            bytes_sent=own.header.payload_bytes * (len(frames) - 1),
            bytes_received=received,
        )
        self.reports.append((report, digest))
        del self.own[turn]
        self._state.merged = turn  # last: the training thread may take the report as soon as it sees this

    def _ensure_common_history(self, frames: Sequence[Frame]) -> None:
        for header in (frame.header for frame in frames):
            if header.history != self._state.histories[header.fragment]:
                detail = f"its round {header.round} grew from another state than {self._site}'s"
                self._exchange.refuse_diverged(header.site, detail)
                raise UserError(
                    f"site {header.site}: {detail}: recipes, seeds or checkpoints differ; "
                    f"stop all sites and start them together"
                )
