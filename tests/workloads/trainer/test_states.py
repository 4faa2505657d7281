"""A state that is taken on trains on as if nothing had been, whatever a model draws from."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.kit.ports import free_port
from tests.kit.worlds import make_plan, small_recipe
from workloads.spec.base import Endpoint
from workloads.spec.plan import Layout
from workloads.spec.recipe import InnerSpec
from workloads.sync import Exchange, Synchronizer
from workloads.trainer.checkpoints import Progress, SavedState
from workloads.trainer.checkpoints.state import (
    SiteState,
    owner_rank,
    random_states,
    seed_all,
    set_random_states,
    splits,
)
from workloads.trainer.checkpoints.tensor_files import save_divided, save_own
from workloads.trainer.losses import mean_cross_entropy
from workloads.trainer.optim import build_optimizer
from workloads.trainer.parallelise import parallelise
from workloads.trainer.world import World

CPU = torch.device("cpu")


class Fickle(nn.Module):
    """A model that has buffers, drops values, and draws from numpy and Python as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 8), nn.Linear(8, 3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        noise = torch.from_numpy(np.random.randn(*inputs.shape).astype(np.float32))  # noqa: NPY002 - what models do
        return self.layers(inputs + noise * random.gauss(0, 1))


def make(optimizer: str) -> SiteState:
    """A site of one worker with a fresh model."""
    seed_all(3)
    model = Fickle()
    plan = make_plan(small_recipe("iris"), ("aws-1",))
    parallel = parallelise(model, plan, plan.sites["aws-1"], World(0, 1, CPU), mean_cross_entropy)
    inner = build_optimizer(InnerSpec(optimizer=optimizer, lr=0.1, batch=12, steps=1), parallel)
    exchange = Exchange(
        run_id="test-run",
        site="aws-1",
        listen=Endpoint(port=free_port()),
        peers={},
        credentials=None,
        max_frame_bytes=1 << 20,
    )
    initial = parallel.flatten()
    synchronizer = Synchronizer(site="aws-1", sites=["aws-1"], initial=initial, plan=plan, exchange=exchange)
    return SiteState(parallel, inner, synchronizer, CPU)


def train(state: SiteState) -> None:
    for _ in range(3):
        state.parallel.train_step((torch.randn(12, 4), torch.randint(0, 3, (12,))))
        state.optimizer.step()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_restored_state_trains_on_bit_identically(tmp_path, optimizer):
    state = make(optimizer)
    train(state)
    state.synchronizer.begin(state.parallel.flatten(), 36)
    save_divided(tmp_path, state.divided(), None)
    save_own(tmp_path, state.own(), 0)
    train(state)
    again = make(optimizer)
    again.restore(SavedState(tmp_path, Progress(), Layout()), World(0, 1, CPU), Layout(), None)
    train(again)
    assert state.parallel.buffers
    for kind in ("parameters", "buffers"):
        restored = getattr(again.parallel, kind)
        for name, tensor in getattr(state.parallel, kind).items():
            assert torch.equal(tensor, restored[name]), name
    assert again.synchronizer.pending
    for each in (state, again):
        assert each.synchronizer.arrived(None)
        each.synchronizer.commit()
        each.synchronizer.close()
    assert state.synchronizer.digest() == again.synchronizer.digest()


def test_generators_go_on_where_they_were():
    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.randn()), float(torch.randn(()))]  # noqa: NPY002 - what models do

    seed_all(5)
    draw()  # leaves a cached second value behind, where a generator makes two at once
    states = {name.removeprefix("random."): tensor.clone() for name, tensor in random_states(CPU).items()}
    drawn = [draw() for _ in range(3)]
    seed_all(6)
    set_random_states(states, CPU)
    assert [draw() for _ in range(3)] == drawn


@pytest.mark.parametrize(
    ("layout", "owners"),
    [
        (Layout(), [0]),
        (Layout(replicas=3), [0]),
        (Layout(replicas=2, shards=2), [0, 1]),
        (Layout(replicas=2, shards=2, pipeline=2), [0, 1, 4, 5]),
        (Layout(replicas=2, tensor=2, pipeline=2), [0, 1, 4, 5]),
    ],
)
def test_a_part_is_owned_by_the_first_of_its_replicas(layout, owners):
    assert [owner_rank(layout, part) for part in range(layout.parts)] == owners


def test_stages_of_other_schedules_hold_other_layers_and_replicas_divide_nothing() -> None:
    staged = Layout(pipeline=2)
    assert splits(staged) != splits(staged.model_copy(update={"schedule": "interleaved"}))
    assert splits(staged) == splits(staged.model_copy(update={"replicas": 2}))
    assert splits(Layout(shards=2)) == splits(Layout(shards=2, schedule="interleaved"))
