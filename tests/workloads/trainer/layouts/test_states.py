"""A site's state saved in one layout goes on in any: bit for bit in the same, and by parameter's name in another."""

import pytest
import torch

from tests.workloads.trainer.layouts.checks import Case
from tests.workloads.trainer.layouts.states import restore_state, save_state
from workloads.spec.plan import Layout

LAYOUTS = [
    Layout(tensor=2),
    Layout(pipeline=2),
    Layout(pipeline=2, schedule="interleaved"),
    Layout(replicas=2, tensor=2),
    Layout(shards=2, tensor=2),
    Layout(pipeline=2, tensor=2),
    Layout(pipeline=2, shards=2),
]
OTHERS = [
    (Layout(), Layout(tensor=2)),
    (Layout(tensor=2), Layout()),
    (Layout(tensor=2), Layout(pipeline=2)),
    (Layout(pipeline=2), Layout(tensor=2)),
    (Layout(pipeline=2), Layout(pipeline=2, schedule="interleaved")),
    (Layout(pipeline=2), Layout(shards=2)),
    (Layout(shards=2, tensor=2), Layout(pipeline=2)),
    (Layout(pipeline=2), Layout(pipeline=2, tensor=2)),
]


def id_of(layout):
    return f"{layout} {layout.schedule}" if layout.pipeline > 1 else str(layout)


@pytest.fixture
def run(two, four):
    """Run something on all ranks of a case's layout."""

    def on_all(check, case, *arguments):
        world = {2: two, 4: four}.get(case.layout.ranks)
        return world.run(check, case, *arguments) if world is not None else [check(0, case, *arguments)]

    return on_all


def by_name(ranks):
    """Each tensor of a site, which ranks that have the same agree upon."""
    tensors = {}
    for rank in ranks:
        for name, tensor in rank.tensors.items():
            assert torch.equal(tensors.setdefault(name, tensor), tensor), name
    return tensors


@pytest.mark.parametrize("layout", LAYOUTS, ids=id_of)
def test_in_the_same_layout_a_site_goes_on_bit_for_bit(run, tmp_path, layout):
    case = Case(layout=layout, steps=2)
    saved, restored = run(save_state, case, str(tmp_path)), run(restore_state, case, str(tmp_path))
    before, after = by_name(saved), by_name(restored)
    assert any(name.startswith("outer.residual.") and tensor.any() for name, tensor in before.items())
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for one, other in zip(saved, restored, strict=True):
        assert one.turns == other.turns
        assert one.kept.keys() == other.kept.keys()
        assert all(torch.equal(other.kept[name], tensor) for name, tensor in one.kept.items())
        assert (one.draws, one.losses) == (other.draws, other.losses)
    assert {rank.turns for rank in restored} <= {(1, 0), None}


@pytest.mark.parametrize(("layout", "other"), OTHERS, ids=id_of)
def test_in_another_layout_a_site_goes_on_with_every_value_in_its_place(run, tmp_path, layout, other):
    saved = run(save_state, Case(layout=layout, steps=2), str(tmp_path))
    restored = run(restore_state, Case(layout=other, steps=2), str(tmp_path))
    before, after = by_name(saved), by_name(restored)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {rank.turns for rank in restored} <= {(0, 0), None}  # what was under way is made again
    assert restored[0].losses == pytest.approx(saved[0].losses, abs=1e-3)


@pytest.mark.parametrize(
    ("layout", "other"),
    [
        (Layout(tensor=2), Layout(replicas=2, tensor=2)),
        (Layout(pipeline=2), Layout(replicas=2, pipeline=2)),
        (Layout(replicas=2, pipeline=2), Layout(pipeline=2)),
    ],
    ids=id_of,
)
def test_with_other_replicas_a_site_keeps_the_turns_that_are_under_way(run, tmp_path, layout, other):
    saved = run(save_state, Case(layout=layout, steps=2), str(tmp_path))
    restored = run(restore_state, Case(layout=other, steps=2), str(tmp_path))
    before, after = by_name(saved), by_name(restored)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    owners, successors = ([rank for rank in ranks if rank.turns is not None] for ranks in (saved, restored))
    for one, successor in zip(owners, successors, strict=True):
        assert one.turns == successor.turns == (1, 0)
        assert all(torch.equal(successor.kept[name], tensor) for name, tensor in one.kept.items())
