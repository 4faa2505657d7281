"""What is measured, with which setting, and how long it takes."""

import pytest

from tests.bench.wan.lasting import Pace, expected_s
from tests.bench.wan.menu import (
    DDP,
    FAR,
    FAST,
    NO_LINK,
    SLOW,
    SPEED,
    SYNC_MUON,
    THIS,
    THIS_MUON,
    THIS_MUON_SLOW,
    TORCHFT_BUCKET,
    full,
    quick,
    select,
)
from tests.bench.wan.product import Wishes, parameters, plan_of, step_s
from tests.bench.wan.training import build_model, build_optimizers
from tests.workloads.bench.test_results import job_of
from workloads.planning.outer import outer_settings
from workloads.spec.errors import UserError
from workloads.spec.facts import Calibration
from workloads.spec.recipe import InnerSpec

# a core of the machine that the benchmark's lengths were chosen on
CORE = Calibration(flops=9.7e10, peak_flops=1.2e11, bf16_flops=2.2e11, copy_bytes_s=3.2e10, operation_s=7e-6)
ALL = full(CORE, Wishes())
BOTH = ["speed", "loss"]


def item_of(name: str, link: object = FAST, items=ALL, stage: str = "speed"):
    (found,) = [item for item in items if (item.stage, item.name, str(item.link)) == (stage, name, str(link))]
    return found


def test_speed_and_loss_are_measured_with_one_setting():
    assert item_of(THIS_MUON, stage="loss").method == item_of(THIS).method
    assert item_of(THIS_MUON_SLOW, SLOW, stage="loss").method == item_of(THIS, SLOW).method


def test_the_setting_is_the_planner_s_for_the_link():
    fast, slow = item_of(THIS).method, item_of(THIS, SLOW).method
    assert (fast.period, fast.bits) == (52, 4)
    assert 0 < fast.overlap_steps <= slow.overlap_steps
    # a round of 4 bits takes 2 s of that link, and each fragment its part of that
    assert slow.overlap_steps * step_s(SPEED, CORE) >= 2.0 / slow.fragments


def test_wishes_have_the_last_word_in_every_row():
    wishes = Wishes(steps=30, bits=2, overlap_steps=7, fragments=3, outer_lr=0.8, outer_momentum=0.5)
    ours = {item.method for item in full(CORE, wishes) if item.method.kind == "isthmus"}
    assert {method.setting for method in ours} == {"H=30 int2 tau=7 F=3 lr=0.8 momentum=0.5"}
    plan = plan_of(job_of(item_of(THIS, items=full(CORE, wishes)).method))
    assert (plan.rounds[0].steps, plan.bits, plan.overlap_steps, plan.fragments) == (30, 2, 7, 3)
    assert {(part.lr, part.momentum) for part in plan.rounds} == {(0.8, 0.5)}


def test_outer_settings_are_those_for_as_many_rounds_as_the_row_makes():
    loss = item_of(THIS_MUON, stage="loss")
    plan = plan_of(job_of(loss.method).model_copy(update={"task": loss.task, "steps": loss.steps}))
    fitting = outer_settings(len(plan.rounds))
    assert plan.steps == 1600
    assert (plan.rounds[0].lr, plan.rounds[0].momentum) == (fitting.lr, fitting.momentum)


@pytest.mark.parametrize("name", [SYNC_MUON, THIS_MUON])
def test_muon_has_the_momentum_of_recipes_in_the_synchronous_row_too(name):
    (task,) = (item.task for item in ALL if item.name == name)
    muon, _ = build_optimizers(task, build_model(task))
    assert {group["momentum"] for group in muon.param_groups} == {InnerSpec.model_fields["muon_momentum"].default}


def test_the_model_that_is_planned_for_is_the_one_that_is_trained():
    assert parameters(SPEED) == 10_069_120
    assert parameters(item_of(THIS_MUON, stage="loss").task) == 922_752


def test_all_rows_but_those_on_demand_are_measured_unless_words_say_otherwise():
    chosen = select(ALL, BOTH, [], [])
    assert {item.key for item in chosen} == {item.key for item in ALL if not item.on_demand}
    assert len({item.key for item in ALL}) == len(ALL)


def test_one_row_is_chosen_by_its_names():
    (chosen,) = select(ALL, ["speed"], ["this"], ["100 Mbit/s 30"])
    assert chosen == item_of(THIS)


def test_a_name_means_its_row_alone_and_a_part_of_names_all_of_them():
    assert {item.name for item in select(ALL, ["speed"], ["DDP"], [])} == {DDP.name}
    assert {item.name for item in select(ALL, ["speed"], ["torchft"], [])} > {TORCHFT_BUCKET.name}


def test_a_row_on_demand_is_measured_if_it_is_named():
    assert [item.name for item in select(ALL, ["loss"], [THIS_MUON_SLOW], [])] == [THIS_MUON_SLOW]


def test_words_that_fit_no_row_are_refused_with_what_there_is():
    with pytest.raises(UserError, match="speed: this"):
        select(ALL, BOTH, ["thas"], [])


def test_all_of_it_takes_no_more_than_three_quarters_of_an_hour():
    paces = {item.task.digest(): Pace(step_s(item.task, CORE), parameters(item.task)) for item in ALL}
    seconds = sum(expected_s(item, paces[item.task.digest()]) for item in select(ALL, BOTH, [], []))
    assert 1800 < seconds < 2700


def test_ddp_runs_past_the_plateau_that_a_target_must_not_lie_on():
    ddp, pace = item_of(DDP.name), Pace(0.45, 10_069_120)
    assert ddp.limit_s is not None
    seconds_a_step = 0.45 + 4 * 8 * pace.parameters * 1.1 / 1e8
    assert 110 < ddp.limit_s / seconds_a_step < ddp.steps


def test_a_row_lasts_longer_on_a_slower_link_unless_its_time_is_limited():
    pace = Pace(0.45, 10_069_120)
    assert expected_s(item_of(TORCHFT_BUCKET.name, SLOW), pace) > expected_s(item_of(TORCHFT_BUCKET.name, FAR), pace)
    assert expected_s(item_of(THIS, SLOW), pace) == expected_s(item_of(THIS, FAR), pace)
    assert expected_s(item_of(NO_LINK.name), pace) == pytest.approx(14 + 60 * 0.45)


def test_quick_rows_are_few_and_small():
    items = quick(CORE, Wishes())
    assert len(items) == 6
    assert all(parameters(item.task) < 1_000_000 for item in items)
