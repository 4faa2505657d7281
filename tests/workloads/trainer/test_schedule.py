"""When turns are due, how long they travel, and which epoch a round belongs to."""

import pytest

from tests.kit.worlds import small_recipe
from workloads.spec.plan import Layout, Plan, RoundPlan, SitePlan
from workloads.trainer.schedule import Schedule, due_steps, round_epochs


def plan(steps, fragments=1, overlap_steps=0):
    return Plan(
        rounds=tuple(RoundPlan(steps=count, lr=1.0, momentum=0.0) for count in steps),
        overlap_steps=overlap_steps,
        bits=8,
        fragments=fragments,
        sites={"aws-1": SitePlan(layout=Layout(), batch=4, micro_batch=4)},
    )


def test_a_turn_is_due_at_the_end_of_its_round():
    assert due_steps(plan((4, 2, 7))) == (4, 6, 13)


def test_fragments_are_spread_over_their_round_and_gather_at_the_end_of_the_last():
    assert due_steps(plan((4, 6, 3), fragments=3)) == (2, 3, 4, 6, 8, 10, 13, 13, 13)


def test_more_fragments_than_steps_are_due_together():
    assert due_steps(plan((2, 2), fragments=4)) == (1, 1, 2, 2, 4, 4, 4, 4)


@pytest.mark.parametrize("fragments", [1, 2, 3, 5])
def test_each_round_ends_with_its_last_fragment(fragments):
    due = due_steps(plan((7, 5, 9), fragments=fragments))
    assert [due[number * fragments - 1] for number in (1, 2, 3)] == [7, 12, 21]
    assert list(due) == sorted(due)


def test_a_turn_travels_for_the_overlap():
    schedule = Schedule.of(plan((6, 6), overlap_steps=4))
    assert schedule.commits_at(1, begun_at=6, delay=0) == 10


def test_a_turn_is_back_when_its_fragment_is_due_again():
    schedule = Schedule.of(plan((2, 2, 8), overlap_steps=4))
    assert schedule.commits_at(1, begun_at=2, delay=0) == 4


def test_what_was_made_in_an_outage_comes_on_top():
    schedule = Schedule.of(plan((6, 6)))
    assert schedule.begins_at(2, delay=100) == 112
    assert Schedule.of(plan((2, 2, 8), overlap_steps=4)).commits_at(1, begun_at=102, delay=100) == 104


def test_epochs_divide_the_steps():
    train = small_recipe("iris", {"train.epochs": 2, "train.rounds_per_epoch": 3}).train
    assert round_epochs(train, plan((4,) * 6)) == (1, 1, 1, 2, 2, 2)
    assert round_epochs(train, plan((1, 2, 4, 8, 15))) == (1, 1, 1, 1, 2)
