"""MLflow has one run for all sites of a training run, and training does not notice whether it is there."""

import shutil
import time

import pytest
from mlflow import MlflowClient

from tests.kit.ports import free_port
from tests.kit.processes import running_module
from tests.workloads.report.runs import write_run
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent, read_events
from workloads.trainer.watching.tracked_run import TRAINING_TAG
from workloads.trainer.watching.tracking import SECONDS_BETWEEN_STEPS, Tracking, settings

# MLflow's own use of SQLAlchemy
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

LIMIT_S = 60.0  # for a machine that is busy, not an expectation
_POLL_S = 0.02


def tell(hook, events):
    for event in events:
        if isinstance(event, StepEvent):
            hook.step(event)
        elif isinstance(event, RoundEvent):
            hook.round_committed(event)
        else:
            hook.note(event)


def events_of(site):
    return list(read_events(site.work / "events.jsonl"))


def the_run(address, launch):
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(launch.recipe.name)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`{TRAINING_TAG}` = '{launch.run_id}'")
    return client, run


def history(client, run, key):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One database for all tests: to make its tables takes seconds."""
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    MlflowClient(tracking_uri=address).search_experiments()
    return address


@pytest.fixture
def launch(tmp_path, request):
    """A run under a name of the test's own."""
    made = write_run(tmp_path, notes=("the link is back",)).launch
    return made.model_copy(update={"run_id": request.node.name.removeprefix("test_").replace("_", "-")[:60]})


def test_all_sites_tell_one_run(store, launch):
    for site in launch.sites:
        hook = Tracking(launch, site, store, pytest.fail)
        tell(hook, events_of(site))
        hook.close()

    client, run = the_run(store, launch)
    assert run.info.status == "FINISHED"
    told = [event for event in events_of(launch.sites[1]) if isinstance(event, RoundEvent)]
    steps = range(4, 25, 4)  # at which each round was merged
    for site in launch.sites:
        kept = dict(history(client, run, f"{site.name}/validation_accuracy"))
        assert kept == pytest.approx(dict(zip(steps, [event.metrics["accuracy"] for event in told], strict=True)))
    assert run.data.tags[f"note.aws-1.{1000 * 1_700_000_002}"] == "the link is back"


def test_parameters_are_recipe_plan_sites_and_link(store, launch):
    Tracking(launch, launch.sites[0], store, pytest.fail).close()

    _, run = the_run(store, launch)
    kept = run.data.params
    assert kept["recipe.train.inner.lr"] == str(launch.recipe.train.inner.lr)
    assert (kept["plan.bits"], kept["plan.rounds"], kept["link.rate_mbps"]) == ("8", "6", "10.0")
    assert (kept["plan.sites.os-1.batch"], kept["sites"]) == ("12", "aws-1, os-1")


def test_a_plan_of_many_rounds_stays_short_enough_for_a_parameter(tmp_path):
    launch = write_run(tmp_path, rounds=(4,) * 3000).launch

    assert settings(launch)["plan"]["rounds"] == 3000
    assert len(str(settings(launch)["plan"])) < 2000


def test_a_run_that_was_cut_off_is_killed_and_goes_on_as_the_same_run(store, launch):
    site, events = launch.sites[0], events_of(launch.sites[0])
    first = Tracking(launch, site, store, pytest.fail)
    tell(first, events[:5])
    first.close()
    assert the_run(store, launch)[1].info.status == "KILLED"

    second = Tracking(launch, site, store, pytest.fail)
    tell(second, events[5:])
    second.close()

    client, run = the_run(store, launch)
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(client, run, "aws-1/validation_loss")] == [4, 8, 12, 16, 20, 24]


def test_of_steps_that_follow_each_other_fast_some_are_kept(store, launch):
    hook = Tracking(launch, launch.sites[0], store, pytest.fail)
    made = [
        StepEvent(
            t=1000 + SECONDS_BETWEEN_STEPS * number / 4, site="aws-1", step=number, loss=1.0, samples=1, seconds=0.1
        )
        for number in range(1, 42)
    ]
    tell(hook, made)
    hook.close()

    client, run = the_run(store, launch)
    kept = [step for step, _ in history(client, run, "aws-1/training_loss")]
    assert len(kept) in range(9, 12)
    assert kept[0] == 1


def test_a_value_that_is_refused_is_counted_and_does_not_stop_the_rest(store, launch):
    said = []
    hook = Tracking(launch, launch.sites[0], store, said.append)
    tell(hook, [RoundEvent.model_validate(refusable_round())])
    hook.close()

    assert [line.split(" refuses ")[0].partition(" at ")[0] for line in said[:1]] == ["tracking"]
    assert said[1].startswith("tracking: 1 events were not told to sqlite:///")


def refusable_round():
    """A metric's name that MLflow does not take."""
    return {
        "t": 1.0, "site": "aws-1", "round": 1, "rounds": 6, "epoch": 1, "loss": 0.5, "metrics": {"a\nb": 1.0},
        "bytes_sent": 1, "bytes_received": 1, "wait_s": 0.0, "seconds": 1.0,
    }  # fmt: skip


def test_a_server_that_is_away_is_told_once_and_what_was_lost_is_counted(launch):
    said, address = [], f"http://user:secret@127.0.0.1:{free_port()}"
    hook = Tracking(launch, launch.sites[0], address, said.append, capacity=3)
    events = events_of(launch.sites[0])
    tell(hook, events)
    hook.close()
    hook.close()

    rounds_and_notes = [event for event in events if isinstance(event, RoundEvent | NoteEvent)]
    kept_steps = 3  # rounds begin every 0.5 s
    assert ["training goes on" in line for line in said] == [True, False]
    assert f"tracking: {len(rounds_and_notes) + kept_steps} events were not told" in said[1]
    assert "secret" not in "".join(said)


def test_a_server_that_comes_back_is_told_everything(store, launch, tmp_path):
    port, said = free_port(), []
    (tmp_path / "registry").mkdir()
    shutil.copy(store.removeprefix("sqlite:///"), tmp_path / "registry")  # tables that are made already
    address = f"http://127.0.0.1:{port}"
    hook = Tracking(launch, launch.sites[0], address, said.append)
    events = events_of(launch.sites[0])
    tell(hook, events[:10])
    until(lambda: hook.round_started(2) or said)
    module = "workloads.registry.server"
    with running_module(module, "--port", str(port), "--folder", tmp_path / "registry", log=tmp_path / "log"):
        tell(hook, events[10:])
        until(lambda: hook.waiting == 0)
        hook.close()
        client, run = the_run(address, launch)
        kept = history(client, run, "aws-1/validation_loss")

    assert [step for step, _ in kept] == [4, 8, 12, 16, 20, 24]
    assert len(said) == 1
    assert "does not work" in said[0]


def until(holds):
    limit = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(_POLL_S)
