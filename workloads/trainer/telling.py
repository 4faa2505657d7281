"""What a site tells while it trains. All ranks call each method together; the first one tells, the others help to judge."""

import time
from collections.abc import Sequence

from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.launch import LaunchSpec
from workloads.trainer.data import Data
from workloads.trainer.evaluation import measure
from workloads.trainer.hooks import Hook
from workloads.trainer.judging import site_predictor
from workloads.trainer.parallelise import ParallelModel
from workloads.trainer.refusals import SiteRefusals
from workloads.trainer.rounds import LinkUse
from workloads.trainer.schedule import round_epochs
from workloads.trainer.watching.rates import flops_a_sample, mfu
from workloads.trainer.world import World

# In an outage a small model makes thousands of steps a second; only so many go into the log.
_SECONDS_BETWEEN_STEPS_ALONE = 1.0


class Teller:
    """Tells `hooks`, which are there on the first rank. `parameters` are those of the whole model."""

    def __init__(
        self,
        *,
        name: str,
        launch: LaunchSpec,
        world: World,
        parallel: ParallelModel,
        data: Data,
        hooks: Sequence[Hook],
        refused: SiteRefusals,
        parameters: int,
    ) -> None:
        self._name = name
        self._launch = launch
        self._world = world
        self._predict = site_predictor(parallel)
        self._data = data
        self._hooks = hooks
        self._refused = refused
        self._flops = flops_a_sample(launch.recipe, parameters)
        self._epochs = round_epochs(launch.recipe.train, launch.plan)
        self._refused_before = 0
        self._step_told = 0.0

    def agree(self, flag: bool) -> bool:  # noqa: FBT001 - a value, not a mode
        """The first rank's `flag`."""
        return bool(self._world.share(int(flag)))

    def round_started(self, number: int) -> None:
        """Round `number`, counted from 1, is next."""
        for hook in self._hooks:
            hook.round_started(number)

    def step(
        self, *, step: int, loss: float, seconds: float, lr: float, grad_norm: float | None, is_alone: bool
    ) -> None:
        """A step was made, in an outage if `is_alone`."""
        now = time.time()
        if not self._hooks or (is_alone and now - self._step_told < _SECONDS_BETWEEN_STEPS_ALONE):
            return
        self._step_told = now
        batch = self._launch.plan.sites[self._name].batch
        event = StepEvent(
            t=now,
            site=self._name,
            step=step,
            loss=loss,
            samples=batch,
            seconds=seconds,
            samples_per_s=batch / seconds if seconds > 0 else None,
            mfu=self._mfu(batch / seconds) if seconds > 0 else None,
            lr=lr,
            grad_norm=grad_norm,
        )
        for hook in self._hooks:
            hook.step(event)

    def round_committed(self, number: int, use: LinkUse, seconds: float) -> None:
        """All sites have merged round `number`; judge the model on what was not trained on."""
        recipe = self._launch.recipe
        quality = measure(recipe, self._predict, self._data.validation(number - 1)).quality(recipe)
        refused = self._refused.gather()
        event = RoundEvent(
            t=time.time(),
            site=self._name,
            round=number,
            rounds=len(self._launch.plan.rounds),
            epoch=self._epochs[number - 1],
            loss=quality.pop("loss"),
            metrics=quality,
            bytes_sent=use.bytes_sent,
            bytes_received=use.bytes_received,
            wait_s=use.wait_s,
            seconds=seconds,
            refused=max(0, refused - self._refused_before),
        )
        self._refused_before = refused
        for hook in self._hooks:
            hook.round_committed(event)

    def _mfu(self, samples_per_s: float) -> float | None:
        site = self._launch.site(self._name)
        if self._flops is None or site.peak_flops is None:
            return None
        return mfu(self._flops, samples_per_s, site.workers * site.peak_flops)

    def note(self, text: str) -> None:
        """Something out of the ordinary."""
        event = NoteEvent(t=time.time(), site=self._name, text=text)
        for hook in self._hooks:
            hook.note(event)
