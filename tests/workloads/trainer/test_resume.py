"""A run that overlaps training with the exchange of fragments is killed at any step, and changes nothing."""

import signal

import pytest
import torch

from tests.kit.outcomes import assert_same_outcome, events, summaries, weights
from tests.kit.worlds import TWO_SITES, SiteProcess, kill_sites, make_launch, run_sites, small_recipe
from workloads.spec.artifact import RunResult
from workloads.spec.events import NoteEvent, StepEvent
from workloads.spec.launch import LaunchSpec
from workloads.spec.plan import Layout

# Fragment 0 is due after 2 of 4 steps, fragment 1 after 4; each travels for 3 steps. So a round is committed, and saved,
# when the first fragment of the next is on its way.
OVERLAPPED = {
    "model.hidden": 100,
    "train.epochs": 1,
    "train.rounds_per_epoch": 4,
    "train.inner.steps": 4,
    "train.inner.optimizer": "muon",
    "train.inner.clip_norm": 1.0,
    "train.outer.fragments": 2,
    "train.outer.overlap_steps": 3,
    "train.outer.bits": 4,
    "train.outer.lr": 0.7,
    "train.outer.momentum": 0.6,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nothing happened to: its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_sites(make_launch(small_recipe("iris", OVERLAPPED), folder))
    return folder


def test_sites_agree_and_no_sample_is_lost(undisturbed):
    first, second = summaries(undisturbed)
    assert first.outer_state_digest == second.outer_state_digest
    assert (first.steps, first.samples) == (second.steps, second.samples) == (16, 16 * 12)


@pytest.mark.parametrize(
    "moment",
    [
        ("step", 5),  # fragment 0 of round 1 is committed
        ("step", 6),  # both fragments are on their way
        ("step", 7),  # round 1 is committed, fragment 0 of round 2 is on its way
        ("step", 8),
        ("step", 12),
        ("writing", 2),
        ("written", 2),
        ("saved", 2),
        ("step", 16),  # the last fragments are begun
    ],
)
def test_a_kill_at_any_step_changes_nothing(undisturbed, tmp_path, moment):
    launch = make_launch(small_recipe("iris", OVERLAPPED), tmp_path)
    other = SiteProcess(launch, "aws-1")
    assert SiteProcess(launch, "os-1", kill_at=moment).finish()[0] == -signal.SIGKILL
    status, _, errors = SiteProcess(launch, "os-1").finish()
    assert status == 0, errors
    assert other.finish()[0] == 0
    assert_same_outcome(undisturbed, tmp_path)


@pytest.mark.parametrize("moments", [(("saved", 2), ("saved", 2)), (("step", 9), ("saved", 1))])
def test_a_kill_of_all_sites_changes_nothing(undisturbed, tmp_path, moments):
    launch = make_launch(small_recipe("iris", OVERLAPPED), tmp_path)
    killed = [SiteProcess(launch, site, kill_at=moment) for site, moment in zip(TWO_SITES, moments, strict=True)]
    assert [process.finish()[0] for process in killed] == [-signal.SIGKILL] * 2
    run_sites(launch)
    assert_same_outcome(undisturbed, tmp_path)
    assert RunResult.load(tmp_path / "output" / "result.json").rounds == 4


LONG = OVERLAPPED | {"train.rounds_per_epoch": 8, "train.checkpoint": {"every_rounds": 5}}
LATE = (5, 6)  # the first fragment of round 3, steps


def make_late_launches(folder):
    """For a site that waits, and for one that trains on alone when a turn is late."""
    patient = make_launch(small_recipe("iris", LONG), folder)
    hasty = folder / "hasty.json"
    LaunchSpec.load(patient).model_copy(update={"round_deadline_s": 1.0}).save(hasty)
    return patient, hasty


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A run in which one turn came late at os-1, and nothing else happened: its folder."""
    folder = tmp_path_factory.mktemp("late")
    patient, hasty = make_late_launches(folder)
    sites = SiteProcess(patient, "aws-1"), SiteProcess(hasty, "os-1", late_at=LATE)
    assert [site.finish()[0] for site in sites] == [0, 0]
    return folder


def test_a_turn_that_comes_late_is_trained_through(late):
    first, second = summaries(late)
    assert first.outer_state_digest == second.outer_state_digest
    assert [event.text for event in events(late, "os-1", NoteEvent)] == [
        "round 3: no word from every site within 1 s; training on alone until the link is back",
        "the link is back after 7 steps alone",
    ]
    assert second.steps > first.steps


@pytest.mark.parametrize(
    ("moment", "resumed_at"),
    [
        (("step", 24), {0}),  # the turn that was begun after the late one is merged, so its frame was sent
        (("round", 5), {0}),
        (("round", 7), {0, 5}),
    ],
)
def test_a_site_that_is_killed_after_a_turn_came_late_makes_the_same_steps_again(late, tmp_path, moment, resumed_at):
    """Though all frames are there by then: what it has sent since, its peer has merged."""
    patient, hasty = make_late_launches(tmp_path)
    other = SiteProcess(patient, "aws-1")
    assert SiteProcess(hasty, "os-1", kill_at=moment, late_at=LATE).finish()[0] == -signal.SIGKILL
    status, _, errors = SiteProcess(patient, "os-1").finish()
    assert status == 0, errors
    assert other.finish()[0] == 0
    (summary,) = summaries(tmp_path, ("os-1",))
    assert summary.resumed_at_round in resumed_at
    assert [each.outer_state_digest for each in summaries(late)] == [summary.outer_state_digest] * 2
    losses, again = (
        {event.step: event.loss for event in events(folder, "os-1", StepEvent)} for folder in (late, tmp_path)
    )
    assert losses == {step: again[step] for step in losses}  # of those made alone not all were told


def test_what_a_late_turn_led_to_need_not_be_repeated_as_long_as_nothing_of_it_was_sent(tmp_path):
    patient, hasty = make_late_launches(tmp_path)
    other = SiteProcess(patient, "aws-1")
    assert SiteProcess(hasty, "os-1", kill_at=("round", 3), late_at=LATE).finish()[0] == -signal.SIGKILL
    status, _, errors = SiteProcess(patient, "os-1").finish()
    assert status == 0, errors
    assert other.finish()[0] == 0
    first, second = summaries(tmp_path)
    assert first.outer_state_digest == second.outer_state_digest
    assert first.steps == second.steps


# Fragments and quantised blocks of a part are other values when the model is divided otherwise.
EXACT = OVERLAPPED | {"train.outer.fragments": 1, "train.outer.bits": 32, "train.inner.optimizer": "adamw"}


def on_all(layout):
    return dict.fromkeys(TWO_SITES, layout)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of two sites of one worker each."""
    folder = tmp_path_factory.mktemp("alone")
    run_sites(make_launch(small_recipe("iris", EXACT), folder))
    return folder


def assert_close_outcome(expected, folder):
    first, second = summaries(folder)
    assert first.outer_state_digest == second.outer_state_digest
    trained, wanted = weights(folder), weights(expected)
    for name, values in wanted.items():
        torch.testing.assert_close(trained[name], values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shards", [2, 4])
def test_a_site_that_is_sharded_has_the_same_outer_state(alone, tmp_path, shards):
    layouts = on_all(Layout(shards=shards))
    run_sites(make_launch(small_recipe("iris", EXACT), tmp_path, layouts=layouts))
    assert_close_outcome(alone, tmp_path)


def test_a_sharded_site_that_is_killed_and_comes_back_changes_nothing(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("sharded") for _ in range(2)]
    launches = [
        make_launch(small_recipe("iris", OVERLAPPED), folder, layouts=on_all(Layout(shards=2))) for folder in folders
    ]
    run_sites(launches[0])
    kill_sites(launches[1], TWO_SITES, ("saved", 2))
    said = run_sites(launches[1])
    assert all("training resumes after round 2 of 4" in output for output in said.values())
    assert_same_outcome(*folders)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Layout(shards=2), Layout(replicas=2)),
        (Layout(shards=2), Layout()),
        (Layout(), Layout(shards=2)),
    ],
)
def test_a_state_of_one_layout_goes_on_in_another(alone, tmp_path, before, after):
    kill_sites(make_launch(small_recipe("iris", EXACT), tmp_path, layouts=on_all(before)), TWO_SITES, ("saved", 2))
    said = run_sites(make_launch(small_recipe("iris", EXACT), tmp_path, layouts=on_all(after)))
    assert all("training resumes after round 2 of 4" in output for output in said.values())
    assert_close_outcome(alone, tmp_path)


def test_one_site_may_come_back_with_more_replicas(alone, tmp_path):
    recipe = small_recipe("iris", EXACT)
    kill_sites(make_launch(recipe, tmp_path), TWO_SITES, ("saved", 2))
    said = run_sites(make_launch(recipe, tmp_path, layouts={"os-1": Layout(replicas=2)}))
    assert "training resumes after round 2 of 4" in said["os-1"]
    assert_close_outcome(alone, tmp_path)
