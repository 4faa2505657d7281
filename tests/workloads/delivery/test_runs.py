"""Sites whose folders lie apart: each makes its own data, and what they have to tell goes by the store they share."""

import pytest

from tests.kit.processes import run_module
from tests.kit.worlds import TWO_SITES, SiteProcess, make_launch, run_sites, small_recipe
from workloads.delivery.prepare import prepare
from workloads.delivery.runs import SharedRun, collect
from workloads.spec.artifact import ArtifactManifest, RunResult
from workloads.spec.delivery import CollectLaunch, Store
from workloads.spec.errors import USER_ERROR_EXIT, UserError
from workloads.spec.launch import LaunchSpec, ShardManifest
from workloads.trainer.summary import SiteSummary


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of sites that were launched before they had data: its folder and its launch."""
    folder = tmp_path_factory.mktemp("apart")
    path = make_launch(small_recipe("iris"), folder)
    launch = LaunchSpec.load(path)
    apart = launch.model_copy(
        update={
            "sites": tuple(site.model_copy(update={"data_digest": None}) for site in launch.sites),
            "shared": Store(address=f"file://{folder}/store"),
        }
    )
    apart.save(path)
    run_sites(path)
    return folder, path


def test_the_artefact_names_the_data_that_the_sites_have_made(run):
    folder, _ = run
    manifest = ArtifactManifest.load(folder / "output" / "trained" / "manifest.json")
    assert manifest.data_digests == {
        site: ShardManifest.load(folder / site / "data" / "manifest.json").data_digest for site in TWO_SITES
    }


def test_summaries_go_by_the_store_and_not_by_folders(run):
    folder, _ = run
    shared = SharedRun(Store(address=str(folder / "store")), "test-run")
    told = [SiteSummary.model_validate_json(shared.told(site)) for site in TWO_SITES]
    assert told[0].outer_state_digest == told[1].outer_state_digest
    assert not list(folder.glob("*/work/evaluation.json"))


def test_a_pod_that_has_nothing_on_its_disk_finds_the_run_finished(run, tmp_path):
    _, path = run
    launch = LaunchSpec.load(path)
    empty = tuple(site.model_copy(update={"data": tmp_path / "d", "work": tmp_path / "w"}) for site in launch.sites)
    launch.model_copy(update={"sites": empty, "output": tmp_path / "o"}).save(tmp_path / "launch.json")
    code, said, erred = SiteProcess(tmp_path / "launch.json", "os-1").finish()
    assert (code, erred) == (0, "")
    assert said == "os-1: run test-run is finished already\n"


def test_a_run_with_other_data_than_it_was_launched_for_is_not_taken_for_finished(run, tmp_path):
    _, path = run
    launch = LaunchSpec.load(path)
    other = launch.sites[0].model_copy(update={"data_digest": "0" * 64})
    launch.model_copy(update={"sites": (other, *launch.sites[1:])}).save(tmp_path / "launch.json")
    code, _, erred = SiteProcess(tmp_path / "launch.json", launch.sites[0].name).finish()
    assert code == USER_ERROR_EXIT
    assert "is not the 000000000000 that the run was launched for" in erred


def test_a_result_is_collected_whole(run, tmp_path):
    folder, _ = run
    launch = CollectLaunch(store=Store(address=str(folder / "store")), run_id="test-run", folder=tmp_path / "run")
    result = collect(launch, lambda _: None)
    assert result == RunResult.load(folder / "output" / "result.json")
    ArtifactManifest.load(tmp_path / "run" / "trained" / "manifest.json").verify(tmp_path / "run" / "trained")


def test_a_run_that_is_not_finished_is_not_collected(tmp_path):
    launch = CollectLaunch(store=Store(address=str(tmp_path / "store")), run_id="other", folder=tmp_path / "run")
    with pytest.raises(UserError, match="has no result of run other; train it to the end first"):
        collect(launch, lambda _: None)


def test_who_closes_a_run_waits_until_it_is_finished(run, tmp_path):
    folder, _ = run
    said = []
    launch = CollectLaunch(
        store=Store(address=str(tmp_path / "store")), run_id="test-run", folder=tmp_path / "run", poll_s=200
    )

    def wait(seconds):
        if len(waited) == 2:
            SharedRun(launch.store, "test-run").deliver(folder / "output")
        waited.append(seconds)

    waited = []
    assert collect(launch, said.append, wait).run_id == "test-run"
    assert waited == [200] * 3
    assert said == [f"waiting: {tmp_path}/store has no result of run test-run; train it to the end first"] * 2


def test_a_model_of_an_interrupted_delivery_is_no_result(run, tmp_path, monkeypatch):
    folder, _ = run
    shared = SharedRun(Store(address=str(tmp_path / "store")), "test-run")
    with monkeypatch.context() as patch:
        patch.setattr(RunResult, "load", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shared.deliver(folder / "output")
    assert not shared.collect(tmp_path / "run")
    shared.deliver(folder / "output")
    assert shared.collect(tmp_path / "run")


def test_data_that_is_there_is_left_and_data_that_is_harmed_is_made_again(run, tmp_path):
    _, path = run
    launch = LaunchSpec.load(path)
    made = prepare(launch, "os-1", tmp_path / "shard")
    part = tmp_path / "shard" / "train.safetensors"
    written = part.stat().st_mtime_ns
    assert prepare(launch, "os-1", tmp_path / "shard") == made
    assert part.stat().st_mtime_ns == written
    part.write_bytes(b"harmed")
    assert prepare(launch, "os-1", tmp_path / "shard") == made
    assert part.read_bytes() != b"harmed"


def test_the_command_makes_a_site_s_data_and_refuses_a_stranger_in_one_line(run, tmp_path):
    _, path = run
    ended = run_module("workloads.delivery", "prepare", path, "--site", "os-1", "--folder", tmp_path / "shard")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("os-1: ")
    refused = run_module("workloads.delivery", "prepare", path, "--site", "gcp-1")
    assert refused.returncode == USER_ERROR_EXIT
    assert refused.stderr == "error: --site 'gcp-1' is not in the run; choose one of aws-1, os-1\n"
