"""A site's metrics: by HTTP on loopback, in a file for node-exporter, and never in training's way."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.ports import free_port
from tests.workloads.report.runs import small_recipe, write_run
from workloads.spec.errors import UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.recipe import load_recipe
from workloads.trainer.watching.prometheus import METRICS, SiteMetrics

STEP = StepEvent(
    t=100.0,
    site="aws-1",
    step=5,
    loss=0.5,
    samples=12,
    seconds=0.5,
    samples_per_s=20.0,
    mfu=0.25,
    lr=0.01,
    grad_norm=2.0,
)
ROUND = RoundEvent(
    t=101.0, site="aws-1", round=1, rounds=6, epoch=1, loss=0.4, metrics={"accuracy": 0.9},
    bytes_sent=100, bytes_received=200, wait_s=0.25, seconds=2.0, refused=1,
)  # fmt: skip


def launch_of(folder, port=None, recipe=None):
    launch = write_run(folder, recipe=recipe).launch
    sites = (launch.sites[0].model_copy(update={"metrics": port}), *launch.sites[1:])
    return launch.model_copy(update={"sites": sites})


def open_metrics(launch, refused=None, say=pytest.fail):
    return SiteMetrics(launch, launch.sites[0], lambda: refused or {}, say)


def samples_in(text):
    """Values by name, with the labels that are not of the run."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            own = {key: value for key, value in sample.labels.items() if key not in {"site", "run"}}
            assert (sample.labels["site"], sample.labels["run"]) == ("aws-1", "iris-0123456789")
            found[sample.name, *own.values()] = sample.value
    return found


def in_file(launch):
    return samples_in((launch.sites[0].work / METRICS).read_text(encoding="utf-8"))


def test_a_site_exports_what_it_was_told(tmp_path):
    launch = launch_of(tmp_path)
    metrics = open_metrics(launch, {"digest": 2, "stale": 1})
    metrics.round_started(1)
    metrics.step(STEP)
    metrics.round_committed(ROUND)
    metrics.round_committed(ROUND.model_copy(update={"round": 2}))
    metrics.note(NoteEvent(t=102.0, site="aws-1", text="the link is back"))
    metrics.checkpointed(103.0)
    metrics.close()

    assert in_file(launch) == {
        ("isthmus_planned_rounds",): 6,
        ("isthmus_planned_steps",): 24,
        ("isthmus_step",): 5,
        ("isthmus_step_timestamp_seconds",): 100,
        ("isthmus_step_seconds",): 0.5,
        ("isthmus_training_loss",): 0.5,
        ("isthmus_samples_per_second",): 20,
        ("isthmus_model_flops_utilization_ratio",): 0.25,
        ("isthmus_learning_rate",): 0.01,
        ("isthmus_gradient_norm",): 2,
        ("isthmus_steps_ahead",): 0,
        ("isthmus_round",): 2,
        ("isthmus_round_seconds",): 2,
        ("isthmus_validation_loss",): 0.4,
        ("isthmus_validation_quality", "accuracy"): 0.9,
        ("isthmus_rounds_total",): 2,
        ("isthmus_training_seconds_total",): 4,
        ("isthmus_sent_bytes_total",): 200,
        ("isthmus_received_bytes_total",): 400,
        ("isthmus_link_wait_seconds_total",): 0.5,
        ("isthmus_refused_frames_total", "digest"): 2,
        ("isthmus_refused_frames_total", "stale"): 1,
        ("isthmus_notes_total",): 1,
        ("isthmus_checkpoint_timestamp_seconds",): 103,
    }


def test_what_is_not_known_is_left_out(tmp_path):
    launch = launch_of(tmp_path)
    metrics = open_metrics(launch)
    metrics.step(StepEvent(t=1.0, site="aws-1", step=1, loss=0.5, samples=12, seconds=0.5))
    metrics.close()

    exported = in_file(launch)
    assert ("isthmus_model_flops_utilization_ratio",) not in exported
    assert ("isthmus_checkpoint_timestamp_seconds",) not in exported
    assert exported["isthmus_samples_per_second",] == 24  # of samples and time, where no rate was told


def test_text_has_tokens_a_second(tmp_path):
    recipe = load_recipe("language")
    metrics = open_metrics(launch := launch_of(tmp_path, recipe=recipe))
    metrics.step(STEP)
    metrics.close()

    assert in_file(launch)["isthmus_tokens_per_second",] == 20 * recipe.data.context


def test_steps_made_alone_are_counted_from_where_a_resumed_process_began(tmp_path):
    metrics = open_metrics(launch := launch_of(tmp_path))
    metrics.round_started(3)  # the third merge is due in 4 steps
    for number in range(21, 32):
        metrics.step(STEP.model_copy(update={"step": number}))
    metrics.close()

    exported = in_file(launch)
    assert (exported["isthmus_round",], exported["isthmus_steps_ahead",]) == (2, 7)
    assert exported["isthmus_rounds_total",] == 0


def test_the_port_answers_on_loopback_until_the_hook_is_closed(tmp_path):
    port = free_port()
    metrics = open_metrics(launch_of(tmp_path, port))
    metrics.step(STEP)
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url) as answer:
        assert samples_in(answer.read().decode())["isthmus_training_loss",] == 0.5
    metrics.close()

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_a_port_in_use_is_one_line(tmp_path):
    port = free_port()
    first = open_metrics(launch_of(tmp_path / "first", port))

    with pytest.raises(UserError, match=rf"site aws-1: metrics cannot listen on 127.0.0.1:{port}") as caught:
        open_metrics(launch_of(tmp_path / "second", port))
    assert "\n" not in str(caught.value)
    first.close()


def test_a_file_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path):
    launch = launch_of(tmp_path)
    (launch.sites[0].work / METRICS).mkdir()
    said = []
    metrics = open_metrics(launch, say=said.append)
    metrics.step(STEP)
    metrics.close()
    metrics.close()
    metrics.round_started(2)

    assert [METRICS in line and "training goes on" in line for line in said] == [True]
    assert list(launch.sites[0].work.glob(f"{METRICS}.*")) == []


def test_the_file_is_whole_whenever_it_is_read(tmp_path):
    launch = launch_of(tmp_path, recipe=small_recipe())
    path = launch.sites[0].work / METRICS
    metrics = open_metrics(launch)
    metrics.step(STEP)
    metrics.close()
    before = path.stat().st_ino
    again = open_metrics(launch)
    again.close()

    assert path.stat().st_ino != before  # replaced, not written over
