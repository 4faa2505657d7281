"""The flat values that a rank exchanges: each value of the model is in exactly one part, whatever the layout."""

import pytest
import torch

from tests.workloads.trainer.layouts import checks
from tests.workloads.trainer.layouts.checks import Case, build
from workloads.spec.plan import Layout

LAYOUTS = [
    Layout(replicas=2),
    Layout(shards=2),
    Layout(tensor=2),
    Layout(pipeline=2),
    Layout(pipeline=2, schedule="interleaved"),
]
PRODUCTS = [
    Layout(replicas=2, shards=2),
    Layout(shards=2, tensor=2),
    Layout(replicas=2, tensor=2),
    Layout(pipeline=2, tensor=2),
    Layout(pipeline=2, shards=2),
]


def world_of(layout, two, four):
    return {2: two, 4: four}[layout.ranks]


@pytest.mark.parametrize("layout", LAYOUTS + PRODUCTS, ids=lambda layout: f"{layout} {layout.schedule}")
def test_parts_hold_every_value_once_and_come_back_where_they_were(two, four, layout):
    case = Case(layout=layout)
    model = build(case)
    ranks = world_of(layout, two, four).run(checks.rewrite_parts, case)
    owned = [rank for rank in ranks if rank.owns]
    assert sorted(rank.part for rank in owned) == list(range(layout.parts))
    assert {rank.parts for rank in ranks} == {layout.parts}
    assert sum(rank.size for rank in owned) == sum(parameter.numel() for parameter in model.parameters())
    named = {name for rank in ranks for name in rank.named}
    assert named == {name for name, _ in model.named_parameters()}
    for rank in ranks:
        assert rank.round_trip
        for name, values in rank.named.items():
            assert torch.equal(values, model.get_parameter(name))
        for name, values in rank.doubled.items():
            assert torch.equal(values, 2 * model.get_parameter(name)), name
    states = [rank.state for rank in ranks]
    assert states[1:] == [None] * (layout.ranks - 1)
    doubled = build(case)
    doubled.load_state_dict(states[0])
    tokens = torch.arange(24).view(2, 12)
    with torch.no_grad():
        expected = doubled(tokens).logits
    for rank in ranks:  # on every rank, though the forward pass before the change had gathered the old values
        torch.testing.assert_close(rank.logits, expected, rtol=1e-4, atol=1e-4)


def test_shares_are_of_equal_size_where_the_division_is_uneven(two):
    ranks = two.run(checks.rewrite_parts, Case(model="mlp", layout=Layout(shards=2)))
    assert all(rank.round_trip for rank in ranks)
    assert sum(rank.size for rank in ranks) == sum(p.numel() for p in build(Case(model="mlp")).parameters())


def test_the_owner_of_a_part_shares_it_with_its_replicas(four):
    answers = four.run(checks.share, Case(layout=Layout(replicas=2, shards=2)))
    assert answers == [[0.0], [1.0], [0.0], [1.0]]


@pytest.mark.parametrize("layout", [Layout(replicas=2), Layout(shards=2), Layout(pipeline=2)], ids=str)
def test_gradients_are_reduced_once_a_step_however_many_micro_batches(two, layout):
    once, often = (
        two.run(checks.reductions, Case(layout=layout, micro_batch=micro_batch))[0] for micro_batch in (2, 1)
    )
    assert once == often


@pytest.mark.parametrize(
    ("saved", "loaded"),
    [
        (Layout(shards=2), Layout(tensor=2)),
        (Layout(tensor=2), Layout(pipeline=2)),
        (Layout(pipeline=2), Layout(replicas=2)),
    ],
    ids=str,
)
def test_what_one_layout_saves_another_loads(two, tmp_path, saved, loaded):
    two.run(checks.save, Case(layout=saved, steps=2), str(tmp_path))
    for before, after in zip(
        two.run(checks.go_on, Case(layout=saved, steps=2), str(tmp_path)),
        two.run(checks.go_on, Case(layout=loaded, steps=2), str(tmp_path)),
        strict=True,
    ):
        assert before == pytest.approx(after, abs=1e-3)
