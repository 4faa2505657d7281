"""Speeds are what their definitions say, and a site's place in its plan is counted in steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.report.runs import small_plan
from workloads.planning.compute import sample_flops
from workloads.planning.recognise import architecture
from workloads.spec.recipe import load_recipe
from workloads.trainer.watching.pacing import Pacing
from workloads.trainer.watching.rates import Smoothed, flops_a_sample, mfu, tokens_a_sample, training_flops


def test_mfu_is_what_the_model_needs_of_what_the_hardware_can_do():
    # 10 M parameters, samples of 128 tokens, 8 of them a second, on 100 GFLOP/s
    assert mfu(training_flops(10_000_000, 128), 8.0, 1e11) == pytest.approx(6 * 1e7 * 128 * 8 / 1e11)


def test_mfu_of_hardware_that_can_do_nothing_is_refused():
    with pytest.raises(ValueError, match="peak_flops is 0"):
        mfu(1.0, 1.0, 0.0)


def test_flops_of_a_sample_are_the_planner_s_for_a_model_that_it_knows():
    recipe = load_recipe("language")
    known = flops_a_sample(recipe, 1)
    assert known == sample_flops(architecture(recipe))
    assert known > training_flops(3_000_000, recipe.data.context)  # 6 a parameter and token, and attention


def test_of_another_model_they_follow_from_its_parameters_where_it_reads_text():
    recipe = load_recipe("language", {"model.config.model_type": "mamba"})
    assert flops_a_sample(recipe, 1000) == training_flops(1000, recipe.data.context)
    assert flops_a_sample(load_recipe("vision", {"model.config.model_type": "resnet"}), 1000) is None


def test_only_text_has_tokens():
    language = load_recipe("language")
    assert tokens_a_sample(language) == language.data.context
    assert tokens_a_sample(load_recipe("iris")) is None


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0.001, 100.0), min_size=1, max_size=20))
def test_a_constant_is_its_own_mean_from_the_first_value_on(value, times):
    mean = Smoothed()
    for seconds in times:
        mean = mean.after(value, seconds)
        assert mean.value == pytest.approx(value, abs=1e-6)


def test_what_is_a_half_life_old_counts_half():
    mean = Smoothed(half_life_s=2.0).after(0.0, 1000.0).after(1.0, 2.0)
    assert mean.value == pytest.approx(0.5)


def test_a_mean_of_nothing_is_unknown_and_a_clock_that_stands_or_jumps_back_changes_nothing():
    assert Smoothed().value is None
    assert Smoothed().after(5.0, 0.0) == Smoothed().after(5.0, -0.5) == Smoothed()


def test_steps_ahead_are_those_after_the_next_merge_was_due():
    pacing = Pacing(small_plan(("aws-1",), (4, 8, 4)).model_copy(update={"overlap_steps": 2}))

    assert [pacing.steps_ahead(0, since) for since in (4, 6, 7)] == [0, 0, 1]  # due after 4 steps and 2 of overlap
    assert [pacing.steps_ahead(1, since) for since in (8, 9, 20)] == [0, 1, 12]  # a round after the first
    assert pacing.steps_ahead(3, 99) == 0


def test_what_was_made_alone_is_not_of_the_plan():
    pacing = Pacing(small_plan(("aws-1",), (4, 8, 4)))

    assert [pacing.steps_made(1, since) for since in (0, 5, 8, 1000)] == [4, 9, 12, 12]
    assert (pacing.steps_made(3, 7), pacing.steps) == (16, 16)
