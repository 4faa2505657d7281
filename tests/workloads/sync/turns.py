"""Rounds of a test: plans, synchronizers, and a site that learns at random."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from tests.workloads.sync.cohort import HANG_S, together
from workloads.spec.plan import Layout, Plan, RoundPlan, SitePlan
from workloads.sync import Exchange, Synchronizer, TurnReport

TWO = ("aws-1", "os-1")
THREE = ("aws-1", "os-1", "os-2")
SAMPLES = {"aws-1": 3, "os-1": 5, "os-2": 1}  # a step
SEEDS = {"aws-1": 100, "os-1": 200, "os-2": 300}
SIZE = 1000  # four blocks, the last one short

Result = TypeVar("Result")


def together_by_site(call: Callable[[str], Result], sites: Sequence[str] = TWO) -> dict[str, Result]:
    """Results of `call(site)` by site, made at the same time."""
    return dict(zip(sites, together(*[lambda site=site: call(site) for site in sites]), strict=True))


def copy_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def make_plan(
    sites: Iterable[str],
    *,
    lr: float = 1.0,
    momentum: float = 0.0,
    bits: int = 8,
    fragments: int = 1,
    rounds: int = 12,
    settings: Sequence[tuple[float, float]] = (),
) -> Plan:
    """`rounds` rounds of one `lr` and `momentum`, or one for each of `settings`."""
    each = settings or [(lr, momentum)] * rounds
    return Plan(
        rounds=tuple(RoundPlan(steps=1, lr=lr, momentum=momentum) for lr, momentum in each),
        overlap_steps=0,
        bits=bits,
        fragments=fragments,
        sites={site: SitePlan(layout=Layout(), batch=1, micro_batch=1) for site in sites},
    )


def make_synchronizer(exchange: Exchange, sites: Iterable[str], initial: Tensor, **plan: float) -> Synchronizer:
    """The rounds of the exchange's site among `sites`, as `make_plan` plans them."""
    return Synchronizer(
        site=exchange.site,
        sites=list(sites),
        initial=initial,
        plan=make_plan(sites, **{"fragments": exchange.fragments, **plan}),
        exchange=exchange,
    )


def finish(rounds: Synchronizer, local: Tensor, *, timeout_s: float = HANG_S) -> TurnReport:
    """Commit the oldest pending turn and merge it into `local` [P]."""
    where = rounds.oldest_fragment
    assert rounds.arrived(timeout_s)
    report = rounds.commit()
    rounds.merge(local[where])
    return report


def learn(rounds: Synchronizer, local: Tensor, seed: int, trained: int, *, timeout_s: float = HANG_S) -> Tensor:
    """Learn something, exchange every fragment of it, and go on from the merged parameters: new memory, [P]."""
    generator = torch.Generator().manual_seed(seed)
    local = local + torch.randn(local.shape, generator=generator, dtype=torch.float64).to(local.dtype)
    for _ in rounds.fragments:
        rounds.begin(local[rounds.next_fragment], trained)
    for _ in rounds.fragments:
        finish(rounds, local, timeout_s=timeout_s)
    return local


def due_steps(steps: int, rounds: int, fragments: int) -> list[int]:
    """The step at which each turn of `rounds` rounds of `steps` is due: spread over a round, in the last one at its end."""
    spread = [
        steps * number - (-steps * (index + 1) // fragments) for number in range(rounds) for index in range(fragments)
    ]
    return spread[: -fragments or None] + [steps * rounds] * fragments


class Training:
    """A site that learns at random, step by step, and begins and commits every turn when it is due."""

    def __init__(
        self,
        rounds: Synchronizer,
        local: Tensor,
        *,
        seed: int,
        batch: int,
        due: Sequence[int],
        overlap: int = 0,
        step: int = 0,
    ) -> None:
        self.rounds = rounds
        self.local = local.clone()
        self.step = step
        self.reports: list[TurnReport] = []
        self.digests: list[str] = []
        self._seed = seed
        self._batch = batch
        self._due = due
        self._overlap = overlap

    def run(self, to_step: int) -> None:
        """Go on until after `to_step`."""
        while self.step < to_step:
            self.step += 1
            generator = torch.Generator().manual_seed(1000 * self._seed + self.step)
            self.local += torch.randn(self.local.shape, generator=generator, dtype=self.local.dtype) / 8
            self._begin()
            self._commit()

    def _begin(self) -> None:
        while self.rounds.begun < len(self._due) and self._due[self.rounds.begun] <= self.step:
            self.rounds.begin(self.local[self.rounds.next_fragment], self.step * self._batch)

    def _commit(self) -> None:
        while self.rounds.pending and (
            self.rounds.begun == len(self._due) or self._due[self.rounds.committed] + self._overlap <= self.step
        ):
            self.reports.append(finish(self.rounds, self.local))
            self.digests.append(self.rounds.digest())
