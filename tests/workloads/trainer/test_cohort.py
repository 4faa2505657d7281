"""Whole sites that lose one another for good, and find each other again."""

import json
import signal

import pytest

from tests.kit.outcomes import events, summaries
from tests.kit.worlds import TWO_SITES, SiteProcess, make_launch, run_sites, small_recipe, start_site
from workloads.spec.artifact import RunResult
from workloads.spec.events import RoundEvent
from workloads.spec.plan import Layout
from workloads.spec.recipe import Recipe

SURVIVED = {"train.membership": {"on_loss": "remove", "patience_s": 1.0, "survivor": "aws-1"}}
ROUNDS = 6


def long_recipe(rounds: int) -> Recipe:
    """One whose rounds take long enough for a site to come back."""
    overrides = {
        "train.epochs": 1,
        "train.rounds_per_epoch": rounds,
        "train.checkpoint": {"every_rounds": 20},
        "train.membership": SURVIVED["train.membership"] | {"patience_s": 10.0},
    }
    return small_recipe("iris", overrides)


def test_a_site_that_is_lost_is_left_out_and_the_survivor_ends_the_run(tmp_path):
    launch = make_launch(small_recipe("iris", SURVIVED), tmp_path, round_deadline_s=0.5)
    survivor = SiteProcess(launch, "aws-1")
    assert SiteProcess(launch, "os-1", kill_at=("round", 2)).finish()[0] == -signal.SIGKILL
    status, _, errors = survivor.finish()
    assert status == 0, errors
    assert "goes on without os-1" in errors
    assert RunResult.load(tmp_path / "output" / "result.json").rounds == ROUNDS
    assert [event.round for event in events(tmp_path, "aws-1", RoundEvent)] == list(range(1, ROUNDS + 1))


def test_an_operator_ends_the_waiting_for_a_lost_site(tmp_path):
    launch = make_launch(small_recipe("iris"), tmp_path, round_deadline_s=0.5)
    survivor = SiteProcess(launch, "aws-1")
    assert SiteProcess(launch, "os-1", kill_at=("round", 2)).finish()[0] == -signal.SIGKILL
    survivor.await_line(r"note: round \d: no word from every site within 0\.5 s; .*")
    (tmp_path / "aws-1" / "work" / "membership.json").write_text(json.dumps({"remove": ["os-1"]}))
    status, _, errors = survivor.finish()
    assert status == 0, errors
    assert RunResult.load(tmp_path / "output" / "result.json").rounds == ROUNDS


def test_a_site_that_comes_back_heals_and_ends_with_the_others(tmp_path):
    rounds = 400
    launch = make_launch(long_recipe(rounds), tmp_path, round_deadline_s=0.5)
    survivor = SiteProcess(launch, "aws-1")
    assert SiteProcess(launch, "os-1", kill_at=("round", 2)).finish()[0] == -signal.SIGKILL
    survivor.await_line("Batch 8/400")
    status, output, errors = SiteProcess(launch, "os-1").finish()
    assert status == 0, errors
    assert "note: the others went on without this site; it heals from them" in output
    assert survivor.finish()[0] == 0
    first, second = summaries(tmp_path)
    assert first.outer_state_digest == second.outer_state_digest
    assert first.tally != second.tally
    result = RunResult.load(tmp_path / "output" / "result.json")
    assert result.rounds == rounds
    assert result.samples == first.samples + second.samples


def test_a_site_that_comes_back_too_late_ends_as_the_run_has(tmp_path):
    launch = make_launch(small_recipe("iris", SURVIVED), tmp_path, round_deadline_s=0.5)
    survivor = SiteProcess(launch, "aws-1")
    assert SiteProcess(launch, "os-1", kill_at=("round", 2)).finish()[0] == -signal.SIGKILL
    assert survivor.finish()[0] == 0
    status, output, errors = SiteProcess(launch, "os-1").finish()
    assert (status, output) == (0, "os-1: run test-run is finished already\n"), errors


@pytest.mark.parametrize("layout", [Layout(shards=2)])
def test_a_site_of_several_workers_leaves_a_lost_one_out_in_every_part(tmp_path, layout):
    recipe = small_recipe("iris", SURVIVED | {"model.hidden": 100})
    launch = make_launch(recipe, tmp_path, round_deadline_s=0.5, layouts=dict.fromkeys(TWO_SITES, layout))
    survivors = start_site(launch, "aws-1")
    first, *others = start_site(launch, "os-1", kill_at=("round", 2)).values()
    assert first.finish()[0] == -signal.SIGKILL
    for other in others:
        other.kill()
    for survivor in survivors.values():
        status, _, errors = survivor.finish()
        assert status == 0, errors
    assert RunResult.load(tmp_path / "output" / "result.json").rounds == ROUNDS


def test_sites_with_nobody_to_lose_are_as_before(tmp_path):
    run_sites(make_launch(small_recipe("iris", SURVIVED), tmp_path))
    first, second = summaries(tmp_path)
    assert first.outer_state_digest == second.outer_state_digest
