"""Whole sites: processes that train, merge, die, come back and publish."""

import re
import shutil
import signal
import socket

import pytest
import torch
from safetensors.torch import load_file

from tests.kit.authority import Authority
from tests.kit.outcomes import assert_same_outcome, events, summaries
from tests.kit.worlds import PEAK_FLOPS, TWO_SITES, SiteProcess, make_launch, run_sites, small_recipe
from workloads.spec.artifact import ArtifactManifest, RunResult
from workloads.spec.errors import USER_ERROR_EXIT, UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.launch import LaunchSpec
from workloads.spec.plan import Layout, SitePlan
from workloads.trainer.model import load_model
from workloads.trainer.train import train_site
from workloads.trainer.watching.rates import flops_a_sample

ROUNDS, STEPS_A_ROUND, BATCH = 6, 4, 12


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two sites that nothing happened to: its folder, its launch and what the sites said."""
    folder = tmp_path_factory.mktemp("finished")
    launch = make_launch(small_recipe("iris"), folder)
    return folder, launch, run_sites(launch)


def test_all_sites_end_with_the_same_outer_state(finished):
    folder, _, _ = finished
    first, second = summaries(folder)
    assert first.outer_state_digest == second.outer_state_digest
    assert first.tally != second.tally


def test_the_result_says_what_was_done(finished):
    folder, _, _ = finished
    result = RunResult.load(folder / "output" / "result.json")
    steps = ROUNDS * STEPS_A_ROUND
    assert (result.rounds, result.steps, result.samples) == (ROUNDS, steps, 2 * steps * BATCH)
    assert result.parameters == 4 * 10 + 10 + 10 * 3 + 3
    assert result.bytes_ddp == 4 * result.parameters * steps
    assert result.resumed_at_round == 0
    assert set(result.bytes_sent) == set(TWO_SITES)
    assert all(0 < payload <= result.wire_bytes_sent[site] for site, payload in result.bytes_sent.items())
    assert result.metrics["majority_accuracy"] == pytest.approx(1 / 3)


def test_the_artefact_is_whole_and_usable(finished):
    folder, _, _ = finished
    trained = folder / "output" / "trained"
    manifest = ArtifactManifest.load(trained / "manifest.json")
    manifest.verify(trained)
    assert set(manifest.files) == {"model.safetensors", "recipe.json", "labels.json"}
    assert manifest.digest() == RunResult.load(folder / "output" / "result.json").manifest_digest
    model, recipe = load_model(trained)
    assert recipe == small_recipe("iris")
    assert model(torch.zeros(2, 4)).shape == (2, 3)


def test_each_step_and_round_is_an_event(finished):
    folder, _, _ = finished
    for site in TWO_SITES:
        assert [event.step for event in events(folder, site, StepEvent)] == list(range(1, ROUNDS * STEPS_A_ROUND + 1))
        rounds = events(folder, site, RoundEvent)
        assert [(event.round, event.epoch) for event in rounds] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
        assert all("accuracy" in event.metrics for event in rounds)


def test_each_step_says_what_share_of_the_workers_flops_the_model_needed(finished):
    folder, launch, _ = finished
    flops = flops_a_sample(LaunchSpec.load(launch).recipe, 0)
    for site in TWO_SITES:
        for event in events(folder, site, StepEvent):
            assert event.mfu == pytest.approx(flops * event.samples_per_s / PEAK_FLOPS)


def test_the_console_shows_epochs_and_batches(finished):
    _, _, said = finished
    classic = r"Batch \d/3\n- loss: \d\.\d{4} - acc: \d\.\d{4}\n- time: \d+\.\d\ds\n"
    epochs = "".join(rf"Epoch {epoch}/2\n─+\n(?:{classic}){{3}}" for epoch in (1, 2))
    for output in said.values():
        assert re.search(epochs, output), output


def test_a_finished_run_is_left_as_it_is(finished):
    folder, launch, _ = finished
    before = (folder / "output" / "result.json").stat().st_mtime_ns
    status, output, errors = SiteProcess(launch, "aws-1").finish()
    assert (status, output, errors) == (0, "aws-1: run test-run is finished already\n", "")
    assert (folder / "output" / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("victim", TWO_SITES)
@pytest.mark.parametrize(
    ("moment", "resumed_at"),  # a checkpoint is written while training goes on, so the newest may be one round behind
    [
        (("step", 1), {0}),
        (("step", STEPS_A_ROUND), {0}),
        (("round", 1), {0}),
        (("step", 3 * STEPS_A_ROUND + 2), {2, 3}),
        (("writing", 3), {2}),
        (("written", 3), {2}),
        (("saved", 3), {3}),
        (("step", ROUNDS * STEPS_A_ROUND), {ROUNDS - 2, ROUNDS - 1}),
        (("round", ROUNDS), {ROUNDS - 2, ROUNDS - 1}),
    ],
)
def test_a_site_that_is_killed_and_comes_back_changes_nothing(finished, tmp_path, victim, moment, resumed_at):
    undisturbed, _, _ = finished
    launch = make_launch(small_recipe("iris"), tmp_path)
    survivor = next(site for site in TWO_SITES if site != victim)
    other = SiteProcess(launch, survivor)
    assert SiteProcess(launch, victim, kill_at=moment).finish()[0] == -signal.SIGKILL
    status, output, errors = SiteProcess(launch, victim).finish()
    assert status == 0, errors
    assert other.finish()[0] == 0
    assert_same_outcome(undisturbed, tmp_path)
    resumed = RunResult.load(tmp_path / "output" / "result.json").resumed_at_round
    assert resumed in resumed_at
    assert (f"note: training resumes after round {resumed} of 6" in output) == (resumed > 0)


def test_mutual_tls_changes_nothing(finished, tmp_path):
    undisturbed, _, _ = finished
    authority = Authority(tmp_path / "pki")
    credentials = {site: authority.issue(site) for site in TWO_SITES}
    run_sites(make_launch(small_recipe("iris"), tmp_path, credentials=credentials))
    assert_same_outcome(undisturbed, tmp_path)


def test_a_first_site_that_dies_before_it_has_published_needs_no_other_to_publish(finished, tmp_path):
    undisturbed, _, _ = finished
    launch = make_launch(small_recipe("iris"), tmp_path)
    run_sites(launch)
    shutil.rmtree(tmp_path / "output")
    run_sites(launch, ("aws-1",))
    assert_same_outcome(undisturbed, tmp_path)


def test_a_corrupt_checkpoint_is_said_and_the_run_goes_on_from_the_previous_one(finished, tmp_path):
    undisturbed, _, _ = finished
    launch = make_launch(small_recipe("iris"), tmp_path)
    killed = [SiteProcess(launch, site, kill_at=("saved", 3)) for site in TWO_SITES]
    assert [process.finish()[0] for process in killed] == [-signal.SIGKILL] * 2
    newest = tmp_path / "os-1" / "work" / "checkpoints" / "round-000003" / "rank-00000.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8])
    said = run_sites(launch)
    assert "note: checkpoint of round 3 is not used: rank-00000.safetensors is corrupt" in said["os-1"]
    assert "note: training resumes after round 2 of 6" in said["os-1"]
    assert any("corrupt" in event.text for event in events(tmp_path, "os-1", NoteEvent))
    assert_same_outcome(undisturbed, tmp_path)


def test_a_site_of_two_workers_trains_as_one_does(tmp_path):
    weights = {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        layouts = {"aws-1": Layout(replicas=workers)}
        run_sites(make_launch(small_recipe("iris"), folder, ("aws-1",), layouts=layouts), ("aws-1",))
        weights[workers] = load_file(folder / "output" / "trained" / "model.safetensors")
    for name in weights[1]:
        torch.testing.assert_close(weights[1][name], weights[2][name])


def test_a_stopped_site_ends_promptly_and_not_well(tmp_path):
    site = SiteProcess(make_launch(small_recipe("iris"), tmp_path), "aws-1")
    site.await_line("waiting for os-1")
    site.stop()
    assert site.finish()[0] == -signal.SIGTERM


def test_an_outage_is_trained_through_and_nothing_is_lost(tmp_path):
    launch = make_launch(small_recipe("iris"), tmp_path, round_deadline_s=1.0)
    other = SiteProcess(launch, "os-1")
    SiteProcess(launch, "aws-1", kill_at=("round", 2)).finish()
    other.await_line(r"note: round \d: no word from every site within 1 s; training on alone until the link is back")
    status, _, errors = SiteProcess(launch, "aws-1").finish()
    assert status == 0, errors
    assert other.finish()[0] == 0
    first, second = summaries(tmp_path)
    assert first.outer_state_digest == second.outer_state_digest
    assert second.samples > ROUNDS * STEPS_A_ROUND * BATCH
    assert RunResult.load(tmp_path / "output" / "result.json").samples == first.samples + second.samples


def test_an_outage_in_the_last_round_is_waited_for(finished, tmp_path):
    undisturbed, _, _ = finished
    launch = make_launch(small_recipe("iris"), tmp_path, round_deadline_s=5.0)
    other = SiteProcess(launch, "os-1")
    SiteProcess(launch, "aws-1", kill_at=("step", ROUNDS * STEPS_A_ROUND)).finish()
    other.await_line(r"note: round 6: no word from every site within 5 s; all steps are made, waiting for the link")
    assert SiteProcess(launch, "aws-1").finish()[0] == 0
    assert other.finish()[0] == 0
    assert_same_outcome(undisturbed, tmp_path)


def test_a_mistake_is_one_line_and_exit_2(tmp_path):
    status, output, errors = SiteProcess(make_launch(small_recipe("iris"), tmp_path, ("aws-1",)), "nowhere").finish()
    assert (status, output) == (USER_ERROR_EXIT, "")
    assert errors == "error: --site 'nowhere' is not in the run; choose one of aws-1\n"


def train(launch):
    train_site(launch, launch.sites[0])


@pytest.fixture
def alone(tmp_path):
    """A launch of one site, whose rounds need no other."""
    return LaunchSpec.load(make_launch(small_recipe("iris"), tmp_path, ("aws-1",)))


def test_a_site_without_data_is_refused(alone):
    (alone.sites[0].data / "manifest.json").unlink()
    with pytest.raises(UserError, match="the site has no data"):
        train(alone)


def test_a_port_in_use_is_refused(alone):
    (listen,) = alone.sites[0].listen
    with socket.create_server((listen.host, listen.port)), pytest.raises(UserError, match=str(listen.port)):
        train(alone)


def test_workers_that_are_not_there_are_refused(tmp_path):
    launch = make_launch(small_recipe("iris"), tmp_path, ("aws-1",), layouts={"aws-1": Layout(replicas=2)})
    with pytest.raises(UserError, match="needs 2 workers, and 1 were started"):
        train(LaunchSpec.load(launch))


def test_a_loss_that_is_no_number_is_refused_and_the_last_good_state_kept(tmp_path):
    launch = make_launch(small_recipe("iris"), tmp_path, ("aws-1",))
    process = SiteProcess(launch, "aws-1", spoil_at=3 * STEPS_A_ROUND + 2)
    status, _, errors = process.finish()
    assert status == USER_ERROR_EXIT
    assert errors.splitlines()[-1] == (
        "error: site aws-1: loss is nan at step 14; the state of round 3 is kept; "
        "lower train.inner.lr 0.01 or set train.inner.clip_norm"
    )
    assert "training resumes after round 3 of 6" in run_sites(launch, ("aws-1",))["aws-1"]


def test_a_full_disk_costs_a_checkpoint_and_nothing_else(finished, tmp_path):
    undisturbed, _, _ = finished
    launch = make_launch(small_recipe("iris"), tmp_path)
    full = SiteProcess(launch, "os-1", full_at=3)
    run_sites(launch, ("aws-1",))
    status, output, errors = full.finish()
    assert status == 0, errors
    notes = [line for line in output.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert re.match(
        r"note: the checkpoint of round 3 was not kept: .*No space left on device.*training goes on", notes[0]
    )
    assert_same_outcome(undisturbed, tmp_path)


def test_a_peer_with_another_recipe_is_refused_at_both_sites(tmp_path):
    launch = make_launch(small_recipe("iris"), tmp_path)
    other = LaunchSpec.load(launch)
    recipe = small_recipe("iris", {"train.inner.lr": 0.5})
    other.model_copy(update={"recipe": recipe}).save(tmp_path / "other.json")
    sites = [SiteProcess(launch, "aws-1"), SiteProcess(tmp_path / "other.json", "os-1")]
    for name, site in zip(TWO_SITES, sites, strict=True):
        status, _, errors = site.finish()
        assert status == USER_ERROR_EXIT
        (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: site {name}: a peer trains run test-run with another recipe, plan or data")
        assert line.endswith("start all sites with the same launch")
    assert not (tmp_path / "output").exists()


def test_a_batch_that_a_layout_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a batch of 12 does not divide into micro-batches of 2 on 5 data ranks"):
        SitePlan(layout=Layout(replicas=5), batch=12, micro_batch=2)
