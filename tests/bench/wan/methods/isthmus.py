"""This product: the planner's rounds, the synchronizer, and its exchange with mutual TLS wherever there is a link."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters
from torch.optim import Optimizer

from tests.bench.wan.jobs import SITES, Job
from tests.bench.wan.methods.group import PATIENCE, flat
from tests.bench.wan.product import plan_of
from workloads.spec.base import Endpoint
from workloads.spec.plan import Plan
from workloads.sync import Exchange, Synchronizer

_TINY = 1 << 16  # values
_MAX_FRAME_BYTES = 1 << 30


def warm_up(job: Job, site: int) -> None:
    """Take a tiny model through all rounds, beside the peer that does the same.

    The libraries' code that this loads is some 20 MB whatever the model's size: not memory that rounds take.
    """
    model, plan = torch.zeros(_TINY), plan_of(job).model_copy(update={"fragments": 1})
    # the store and the lighthouse of other methods are not there
    exchange = _exchange(
        job, site, [Endpoint(host=job.hosts[at], port=job.ports[at]) for at in range(len(SITES))], plan
    )
    synchronizer = Synchronizer(site=SITES[site], sites=SITES, initial=model, plan=plan, exchange=exchange)
    for turn in range(1, len(plan.rounds) + 1):
        synchronizer.begin(model, turn)
        synchronizer.arrived(None)
        synchronizer.commit()
        synchronizer.merge(model)
    _end(synchronizer, exchange)


class Isthmus:
    """Turns begin when they are due and end `overlap_steps` later, or as soon after that as all frames are there."""

    settled = 1

    def __init__(self, job: Job, site: int, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        del optimizers  # they step as they are
        self.model = model
        self._plan = plan_of(job)
        self._due = _due_steps(self._plan)
        self._batch = job.task.batch
        # parameters become views of one flat tensor, so that nothing need be gathered
        self._flat = flat(model)
        vector_to_parameters(self._flat, model.parameters())
        endpoints = [job.endpoint(at) for at in range(len(SITES))]
        self._exchange = _exchange(job, site, endpoints, self._plan)
        self._synchronizer = Synchronizer(
            site=SITES[site], sites=SITES, initial=self._flat, plan=self._plan, exchange=self._exchange
        )

    def stepped(self, step: int) -> bool:
        before = self._synchronizer.round
        self._commit(step - self._plan.overlap_steps)
        while self._synchronizer.begun < len(self._due) and self._due[self._synchronizer.begun] <= step:
            where = self._synchronizer.next_fragment
            self._synchronizer.begin(self._flat[where], step * self._batch)
        if step == self._plan.steps:  # nothing is left to overlap with
            self._commit(step)
        return self._synchronizer.round > before

    def shared(self) -> Tensor:
        return self._synchronizer.outer_tensors()["parameters"].clone()

    def close(self) -> None:
        _end(self._synchronizer, self._exchange)

    def _commit(self, begun_by: int) -> None:
        """Commit the turns that were begun at step `begun_by` or before."""
        while self._synchronizer.pending and self._due[self._synchronizer.committed] <= begun_by:
            where = self._synchronizer.oldest_fragment
            self._synchronizer.arrived(None)
            self._synchronizer.commit()
            self._synchronizer.merge(self._flat[where])


def _exchange(job: Job, site: int, endpoints: Sequence[Endpoint], plan: Plan) -> Exchange:
    """The site's own, once it has met the other."""
    exchange = Exchange(
        run_id="bench",
        site=SITES[site],
        listen=endpoints[site],
        peers={SITES[1 - site]: endpoints[1 - site]},
        credentials=job.credentials[site] if job.credentials else None,
        max_frame_bytes=_MAX_FRAME_BYTES,
        fragments=plan.fragments,
    )
    exchange.start()
    exchange.rendezvous([], PATIENCE.total_seconds())
    return exchange


def _end(synchronizer: Synchronizer, exchange: Exchange) -> None:
    exchange.drain(PATIENCE.total_seconds())
    synchronizer.close()
    exchange.close()


def _due_steps(plan: Plan) -> tuple[int, ...]:
    """The step at which each turn begins: a round's fragments evenly spread over it, all of the last at its end."""
    due: list[int] = []
    start = 0
    for number, part in enumerate(plan.rounds, start=1):
        is_last = number == len(plan.rounds)
        shares = (1.0 if is_last else fragment / plan.fragments for fragment in range(1, plan.fragments + 1))
        due += [start + math.ceil(part.steps * share) for share in shares]
        start += part.steps
    return tuple(due)
