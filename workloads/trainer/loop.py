"""The loop of a site: train, offer what was learnt when it is due, merge, and again. In an outage, train on."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec
from workloads.trainer.checkpoints import Begun, Journal, Progress
from workloads.trainer.cohort import SiteCohort
from workloads.trainer.data import Data
from workloads.trainer.optim import Optimizers, learning_rate, set_learning_rate
from workloads.trainer.parallelise import ParallelModel
from workloads.trainer.rounds import SiteRounds
from workloads.trainer.schedule import Schedule
from workloads.trainer.summary import Summaries
from workloads.trainer.telling import Teller
from workloads.trainer.waiting import Waiting


@dataclass(frozen=True)
class Site:
    """What the loop works with, on one rank. `save` makes a state durable after a round, in its own time.

    `journal` says what was done before, and is to be done again, and is told of all that is done.
    """

    name: str
    launch: LaunchSpec
    parallel: ParallelModel
    optimizer: Optimizers
    data: Data
    rounds: SiteRounds
    cohort: SiteCohort
    teller: Teller
    journal: Journal
    save: Callable[[Progress], None]


class SiteLoop:
    """Takes a site from `progress` to the last round. All ranks of the site run it together."""

    def __init__(self, site: Site, progress: Progress) -> None:
        self._site = site
        self._plan = site.launch.plan
        self._inner = site.launch.recipe.train.inner
        self._batch = self._plan.sites[site.name].batch
        self._schedule = Schedule.of(self._plan)
        self._progress = progress
        self._saved_round = progress.round
        self._waiting = Waiting(site.rounds, site.cohort, site.teller, site.launch.round_deadline_s)
        self._round_started = time.monotonic()

    def run(self, *, must_heal: bool = False) -> Progress | None:
        """Make all rounds that are left; of a site that `must_heal`, those that the others have left.

        None: they have ended the run without this site.

        Raises:
            UserError: the loss stops being a number, or what it was learnt from cannot be merged.
        """
        rounds, turns = self._site.rounds, self._schedule.turns
        if must_heal:
            if not self._heal():
                return None
        elif rounds.committed < turns:
            self._site.teller.round_started(self._progress.round + 1)
        while True:
            self._make_turns()
            if rounds.committed == turns:
                return self._progress
            if self._site.cohort.tend():
                if not self._heal():
                    return None
            elif rounds.begun < turns:
                self._step()

    def _make_turns(self) -> None:
        """Commit what has travelled long enough and arrived, and begin what is due, for this step."""
        rounds, schedule = self._site.rounds, self._schedule
        if self._is_repeating():
            return
        while True:
            if rounds.pending and self._progress.step >= self._commits_at():
                is_last = rounds.begun == schedule.turns
                if not self._waiting.has_arrived(self._progress.round + 1, is_last=is_last):
                    return
                self._commit()
            elif rounds.begun < schedule.turns and rounds.can_begin and self._progress.step >= self._begins_at():
                self._begin()
            else:
                return

    def _is_repeating(self) -> bool:
        """Do what was done at this step before; whether there is nothing else to do at it."""
        journal, rounds = self._site.journal, self._site.rounds
        while (event := journal.next) is not None and event.step == self._progress.step:
            if event.kind == "begin":
                self._begin()
            elif self._waiting.has_arrived_again(self._progress.round + 1):
                self._commit()
            else:
                journal.restart(rounds.begun, rounds.committed)
                return True
        return event is not None and event.step > self._progress.step

    def _begins_at(self) -> int:
        return self._schedule.begins_at(self._site.rounds.begun + 1, self._progress.delay)

    def _commits_at(self) -> int:
        if self._site.rounds.begun == self._schedule.turns:  # nothing is left that could overlap
            return self._progress.step
        return self._schedule.commits_at(
            self._site.rounds.committed + 1, self._progress.pending[0].step, self._progress.delay
        )

    def _begin(self) -> None:
        progress = self._progress
        late = progress.step - self._begins_at()
        self._site.journal.note("begin", progress.step)
        self._site.rounds.begin(progress.samples, self._site.journal.keeper())
        begun = Begun(step=progress.step, samples=progress.samples)
        self._advance(delay=progress.delay + late, pending=(*progress.pending, begun))

    def _commit(self) -> None:
        rounds, progress = self._site.rounds, self._progress
        rounds.commit()
        self._site.journal.note("commit", progress.step)
        self._advance(pending=progress.pending[1:], merged_samples=progress.pending[0].samples)
        if rounds.committed % self._schedule.fragments == 0:
            self._conclude_round()

    def _conclude_round(self) -> None:
        """Validate, tell and save."""
        site, train = self._site, self._site.launch.recipe.train
        use = site.rounds.take_use()
        now = time.monotonic()
        seconds, self._round_started = now - self._round_started, now
        number, last = self._progress.round + 1, len(self._plan.rounds)
        self._advance(
            round=number,
            wall_s=self._progress.wall_s + seconds,
            wait_s=self._progress.wait_s + use.wait_s,
            bytes_sent=self._progress.bytes_sent + use.bytes_sent,
        )
        site.teller.round_committed(number, use, seconds)
        if (fault := site.journal.take_fault()) is not None:
            site.teller.note(
                f"the log of turns was not kept: {fault}; training goes on, but a site that is killed after a late round "
                "may not find back to what it has sent"
            )
        if number % train.checkpoint.every_rounds == 0 or number == last:
            if not site.rounds.is_finite():
                raise self._diverged("a parameter is not a number")
            site.save(self._progress)
            self._saved_round = number
        if number < last:
            site.teller.round_started(number + 1)

    def _step(self) -> None:
        site, progress = self._site, self._progress
        started = time.monotonic()
        rate = learning_rate(self._inner, progress.step, self._plan.steps)
        set_learning_rate(site.optimizer, rate)
        round_number = site.rounds.begun // self._schedule.fragments
        loss = float(site.parallel.train_step(site.data.batch(round_number, progress.samples, self._batch)))
        self._advance(step=progress.step + 1, samples=progress.samples + self._batch)
        if not math.isfinite(loss):
            raise self._diverged(f"loss is {loss}")
        norm = None
        if self._inner.clip_norm is not None:
            norm = float(site.parallel.clip_gradients(self._inner.clip_norm))
        site.optimizer.step()
        if self._waiting.alone is not None:
            self._waiting.alone += 1
        site.teller.step(
            step=self._progress.step,
            loss=loss,
            seconds=time.monotonic() - started,
            lr=rate,
            grad_norm=norm,
            is_alone=self._waiting.alone is not None,
        )

    def _diverged(self, what: str) -> UserError:
        inner = self._inner
        kept = f"the state of round {self._saved_round} is kept" if self._saved_round else "no state was kept yet"
        remedy = f"lower train.inner.lr {inner.lr:g}" + (
            " or set train.inner.clip_norm" if inner.clip_norm is None else ""
        )
        return UserError(f"site {self._site.name}: {what} at step {self._progress.step}; {kept}; {remedy}")

    def _heal(self) -> bool:
        """Go on from the others' outer state, in the round that they are in; False: they have ended the run."""
        site, progress = self._site, self._progress
        summaries = Summaries(site.launch)
        number = site.cohort.heal(
            trained=progress.samples,
            merged=progress.merged_samples,
            say=site.teller.note,
            is_over=lambda: summaries.others_are_done(site.name),
        )
        if number is None:
            site.teller.note("the others have ended the run without this site; nothing is left to do")
            return False
        turns = number * self._schedule.fragments
        site.rounds.go_on(turns, turns)
        site.rounds.take_over()
        site.journal.restart(turns, turns)
        planned = self._schedule.begins_at(turns, 0)
        step = max(progress.step, planned)
        self._advance(
            round=number,
            step=step,
            delay=step - planned,
            pending=(),
            merged_samples=progress.samples,
            lost_samples=progress.lost_samples + progress.samples - progress.merged_samples,
        )
        self._waiting.alone = None
        site.teller.note(f"healed; goes on with round {number + 1}")
        site.teller.round_started(number + 1)
        return True

    def _advance(self, **changes: object) -> None:
        self._progress = self._progress.model_copy(update=changes)
