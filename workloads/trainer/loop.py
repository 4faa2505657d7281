"""The round loop: train alone, offer what was learnt, merge, and again. In an outage, train on."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from workloads.spec.errors import UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.recipe import Recipe
from workloads.sync import RoundReport
from workloads.trainer.checkpoint import Progress
from workloads.trainer.data import Data
from workloads.trainer.evaluation import measure
from workloads.trainer.hooks import Hook
from workloads.trainer.model import logits, predictor
from workloads.trainer.optim import learning_rate, set_learning_rate
from workloads.trainer.parallelise import parallelise, rank_batch
from workloads.trainer.rounds import SiteRounds
from workloads.trainer.state import capture, random_state
from workloads.trainer.world import World

# In an outage a small model makes thousands of steps a second; only so many go into the log.
_SECONDS_BETWEEN_STEPS_AHEAD = 1.0


@dataclass(frozen=True)
class Site:
    """What the loop works with. `model` is the plain one, as it is saved; `hooks` and `save` act on the first rank."""

    name: str
    recipe: Recipe
    round_deadline_s: float
    world: World
    model: nn.Module
    optimizer: Optimizer
    data: Data
    rounds: SiteRounds
    hooks: Sequence[Hook]
    save: Callable[[Progress, Mapping[str, Tensor]], None]


class RoundLoop:
    """Takes a site from `progress` to the last round. All ranks of the site run it together."""

    def __init__(self, site: Site, progress: Progress) -> None:
        self._site = site
        self._spec = site.recipe.train
        self._parallel = parallelise(site.model, site.world)
        self._rank_batch = rank_batch(self._spec.inner.batch, site.world)
        self._progress = progress
        self._pending = False  # a round is begun and not yet committed
        self._round_started = time.monotonic()
        self._step_logged = 0.0

    def run(self) -> Progress:
        """Make all rounds that are left. Raises `UserError` if the loss stops being a number or the disk is full."""
        while self._progress.round < self._spec.rounds:
            self._make_round()
        return self._progress

    def _make_round(self) -> None:
        number = self._progress.round + 1
        for hook in self._site.hooks:
            hook.round_started(number)
        while self._progress.steps_ahead < self._spec.inner.steps:
            self._step()
        self._site.rounds.begin(self._progress.steps_ahead * self._spec.inner.batch)
        self._pending = True
        self._advance(steps_ahead=0)
        self._commit(is_last=number == self._spec.rounds)
        self._site.rounds.merge()
        self._pending = False
        self._advance(round=number)
        self._conclude_round()

    def _commit(self, *, is_last: bool) -> None:
        """Wait for the other sites until the deadline, and train on from there; after the last round just wait on."""
        rounds, deadline_s = self._site.rounds, self._site.round_deadline_s
        if rounds.commit(deadline_s):
            return
        silence = f"round {self._progress.round + 1}: no word from every site within {deadline_s:g} s"
        if is_last:
            self._note(f"{silence}; all steps are made, waiting for the link")
            rounds.commit(None)
            return
        self._note(f"{silence}; training on alone until the link is back")
        while not rounds.commit(0.0):
            self._step()
        self._note(f"the link is back after {self._progress.steps_ahead} steps alone")

    def _step(self) -> None:
        site, inner, progress = self._site, self._spec.inner, self._progress
        started = time.monotonic()
        set_learning_rate(site.optimizer, learning_rate(inner, progress.step, self._spec.rounds * inner.steps))
        inputs, targets = self._next_batch()
        loss = cross_entropy(logits(self._parallel, inputs).flatten(0, -2), targets.flatten())
        site.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if inner.clip_norm is not None:
            nn.utils.clip_grad_norm_(site.model.parameters(), inner.clip_norm)
        site.optimizer.step()
        mean_loss = float(site.world.mean(loss.detach()))
        self._advance(
            step=progress.step + 1, samples=progress.samples + inner.batch, steps_ahead=progress.steps_ahead + 1
        )
        if not math.isfinite(mean_loss):
            raise UserError(
                f"site {site.name}: loss is {mean_loss} at step {self._progress.step}; "
                f"lower train.inner.lr {inner.lr:g} or set train.inner.clip_norm"
            )
        self._log_step(mean_loss, time.monotonic() - started)

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        """This rank's part of the site's next batch."""
        world = self._site.world
        round_number = self._progress.round + int(self._pending)
        batch = self._site.data.batch(round_number, self._progress.samples, self._spec.inner.batch)
        part = slice(world.rank * self._rank_batch, (world.rank + 1) * self._rank_batch)
        inputs, targets = (torch.from_numpy(array[part]).to(world.device) for array in batch)
        return inputs, targets

    def _conclude_round(self) -> None:
        """Validate, tell and save."""
        site, spec = self._site, self._spec
        now = time.monotonic()
        seconds, self._round_started = now - self._round_started, now
        random = site.world.gather(random_state(site.world.device).to(site.world.device)).cpu()
        report = site.rounds.report
        if report is None:  # not the first rank
            return
        self._advance(
            wall_s=self._progress.wall_s + seconds,
            wait_s=self._progress.wait_s + report.wait_s,
            bytes_sent=self._progress.bytes_sent + report.bytes_sent,
        )
        self._tell_round(report, seconds)
        if self._progress.round % spec.checkpoint.every_rounds == 0 or self._progress.round == spec.rounds:
            site.save(self._progress, capture(site.model, site.optimizer, random, site.rounds.outer_state()))

    def _tell_round(self, report: RoundReport, seconds: float) -> None:
        site, number = self._site, self._progress.round
        batches = site.data.validation(number - 1)
        quality = measure(site.recipe, predictor(site.model, site.world.device), batches).quality(site.recipe)
        event = RoundEvent(
            t=time.time(),
            site=site.name,
            round=number,
            rounds=self._spec.rounds,
            epoch=(number - 1) // self._spec.rounds_per_epoch + 1,
            loss=quality.pop("loss"),
            metrics=quality,
            bytes_sent=report.bytes_sent,
            bytes_received=report.bytes_received,
            wait_s=report.wait_s,
            seconds=seconds,
        )
        for hook in site.hooks:
            hook.round_committed(event)

    def _log_step(self, loss: float, seconds: float) -> None:
        now = time.time()
        if self._pending and now - self._step_logged < _SECONDS_BETWEEN_STEPS_AHEAD:
            return
        self._step_logged = now
        event = StepEvent(
            t=now,
            site=self._site.name,
            step=self._progress.step,
            loss=loss,
            samples=self._spec.inner.batch,
            seconds=seconds,
        )
        for hook in self._site.hooks:
            hook.step(event)

    def _note(self, text: str) -> None:
        event = NoteEvent(t=time.time(), site=self._site.name, text=text)
        for hook in self._site.hooks:
            hook.note(event)

    def _advance(self, **changes: float) -> None:
        self._progress = self._progress.model_copy(update=changes)
