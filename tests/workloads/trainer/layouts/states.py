"""What a world of processes is asked to do with a site's state: save it in one layout, and go on from it in another."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.kit.ports import free_ports
from tests.workloads.trainer.layouts.checks import BATCH, Case, batches, parallel_model, plan_of, whole
from workloads.spec.base import Endpoint
from workloads.spec.plan import RoundPlan
from workloads.spec.recipe import InnerSpec
from workloads.sync import Exchange, Synchronizer
from workloads.trainer.checkpoints import CheckpointStore, CheckpointWriter, Identity, Place, Progress
from workloads.trainer.checkpoints.state import SiteState, seed_all
from workloads.trainer.optim import build_optimizer
from workloads.trainer.world import make_world

_CPU = torch.device("cpu")
_IDENTITY = Identity(model="tiny", model_digest="a" * 64, training="b" * 64)
MERGED_SAMPLES = 5


@dataclass(frozen=True)
class Held:
    """A site's state as one rank holds it: what is divided whole and by name, and of its part what is its own."""

    tensors: dict[str, Tensor]
    turns: tuple[int, int] | None  # begun and committed
    kept: dict[str, Tensor]  # snapshots and frames of turns that are under way
    draws: list[float]
    losses: list[float]


class _Rank:
    """One rank of a site that has a peer it never hears from."""

    def __init__(self, rank: int, case: Case) -> None:
        self.world = make_world(rank, case.layout, _CPU)
        self.parallel = parallel_model(rank, case)
        inner = InnerSpec(optimizer=case.optimizer, lr=0.01, weight_decay=0.1, batch=BATCH, steps=1)
        self.optimizer = build_optimizer(inner, self.parallel)
        self.synchronizer = self._synchronizer(case) if self.parallel.owns_part else None
        self.state = SiteState(self.parallel, self.optimizer, self.synchronizer, _CPU)

    def train(self, case: Case) -> list[float]:
        losses = []
        for batch in batches(case):
            losses.append(self.parallel.train_step(batch).item())
            self.optimizer.step()
        return losses

    def held(self, losses: list[float]) -> Held:
        synchronizer = self.synchronizer
        kept = synchronizer.state_dict() if synchronizer is not None else {}
        return Held(
            {name: whole(tensor) for name, tensor in self.state.divided().items()},
            (synchronizer.begun, synchronizer.committed) if synchronizer is not None else None,
            {
                name: tensor.clone()
                for name, tensor in kept.items()
                if name.startswith(("snapshot", "frame", "progress"))
            },
            torch.randn(3).tolist(),
            losses,
        )

    def _synchronizer(self, case: Case) -> Synchronizer:
        plan, site = plan_of(case)
        rounds = (RoundPlan(steps=1, lr=0.7, momentum=0.6),) * 4
        plan = plan.model_copy(update={"rounds": rounds, "bits": 4, "sites": {"aws-1": site, "os-1": site}})
        ours, theirs = free_ports(2)
        exchange = Exchange(
            run_id="test-run",
            site="aws-1",
            listen=Endpoint(port=ours),
            peers={"os-1": Endpoint(port=theirs)},
            credentials=None,
            max_frame_bytes=1 << 20,
            part=self.parallel.part,
        )
        initial = self.parallel.flatten()
        return Synchronizer(site="aws-1", sites=["aws-1", "os-1"], initial=initial, plan=plan, exchange=exchange)


def _writer(rank: _Rank, case: Case, folder: str) -> tuple[CheckpointStore, CheckpointWriter]:
    store = CheckpointStore(Place(folder, Path(folder)), keep=2, identity=_IDENTITY)
    return store, CheckpointWriter(store, rank.world, case.layout, makes_scratch=rank.world.is_first)


def save_state(rank: int, case: Case, folder: str) -> Held:
    """Train, begin a turn, and save; then train on. What the site held when it was saved, and the losses from there."""
    mine = _Rank(rank, case)
    seed_all(3 + mine.parallel.data_rank)
    mine.train(case)
    if mine.synchronizer is not None:
        mine.synchronizer.begin(mine.parallel.flatten(), MERGED_SAMPLES)
        mine.synchronizer.hold()
    _, writer = _writer(mine, case, folder)
    writer.start(Progress(round=0, merged_samples=MERGED_SAMPLES), mine.state.divided(), mine.state.own())
    writer.wait()
    assert [outcome.fault for outcome in writer.outcomes()] == [None]
    held = mine.held([])
    held.losses.extend(mine.train(case))
    return _closed(mine, held)


def restore_state(rank: int, case: Case, folder: str) -> Held:
    """Go on from what `save_state` saved, whatever layout that was in."""
    mine = _Rank(rank, case)
    seed_all(4)
    store, writer = _writer(mine, case, folder)
    store.fetch(0)
    mine.state.restore(store.open(0), mine.world, case.layout, writer.group)
    held = mine.held([])
    held.losses.extend(mine.train(case))
    return _closed(mine, held)


def _closed(rank: _Rank, held: Held) -> Held:
    if rank.synchronizer is not None:
        with closing(rank.synchronizer):
            pass
    return held
