"""The order of data, the schedule, the models and the events: what the loop is made of."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.kit.worlds import TWO_SITES, make_plan, make_shards, small_recipe
from workloads.spec.errors import UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent, read_events
from workloads.spec.recipe import InnerSpec
from workloads.trainer.data import open_data, ordered
from workloads.trainer.evaluation import measure
from workloads.trainer.hooks import Console, EventLog
from workloads.trainer.losses import mean_cross_entropy
from workloads.trainer.model import build_model, load_model, logits, predictor, save_model
from workloads.trainer.optim import build_optimizer, learning_rate
from workloads.trainer.parallelise import parallelise
from workloads.trainer.shard_files import read_part
from workloads.trainer.world import World

CPU = torch.device("cpu")


def alone(recipe, model):
    """`model` at a site of one worker."""
    plan = make_plan(recipe, ("aws-1",))
    return parallelise(model, plan, plan.sites["aws-1"], World(0, 1, CPU), mean_cross_entropy)


def test_the_order_of_data_is_one_permutation_after_another():
    places = ordered((7,), 10, 0, 30).reshape(3, 10)
    assert all(sorted(row) == list(range(10)) for row in places.tolist())
    assert places[0].tolist() != places[1].tolist()


def test_the_order_of_data_follows_from_the_position_alone():
    whole = ordered((7,), 10, 0, 40)
    pieces = [ordered((7,), 10, position, 4) for position in range(0, 40, 4)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_round_of_a_table_trains_on_one_subset_and_validates_on_the_others(tmp_path):
    shard = make_shards(small_recipe("iris"), tmp_path, TWO_SITES)["aws-1"]
    part = read_part(shard, "train")
    data = open_data(small_recipe("iris"), shard)
    for number in range(6):
        is_trained_on = part["subset"] == np.unique(part["subset"])[number % 5]
        features, labels = data.batch(number, 12 * number, 12)
        assert rows(features, labels) == rows(part["features"][is_trained_on], part["labels"][is_trained_on])
        ((features, labels),) = data.validation(number)
        assert rows(features, labels) == rows(part["features"][~is_trained_on], part["labels"][~is_trained_on])


def rows(features, labels):
    return sorted(
        [*measurements, label] for measurements, label in zip(features.tolist(), labels.tolist(), strict=True)
    )


def test_text_validates_on_held_out_windows(tmp_path):
    recipe = small_recipe("language")
    shard = make_shards(recipe, tmp_path, TWO_SITES)["aws-1"]
    data = open_data(recipe, shard)
    inputs, targets = data.batch(0, 0, 4)
    assert inputs.shape == targets.shape == (4, 32)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    assert [batch.tolist() for batch, _ in data.validation(0)] == [batch.tolist() for batch, _ in data.validation(1)]


def test_text_that_is_shorter_than_a_window_is_refused(tmp_path):
    recipe = small_recipe("language", {"data.max_bytes_per_site": 20_000})
    shard = make_shards(recipe, tmp_path, TWO_SITES)["aws-1"]
    with pytest.raises(UserError, match=r"less than one window of 100001; lower data\.context"):
        open_data(small_recipe("language", {"data.context": 100_000}), shard)


def test_the_cosine_schedule_warms_up_falls_to_a_tenth_and_stays_there():
    spec = InnerSpec(lr=1.0, schedule="cosine", warmup_steps=4, batch=1, steps=1)
    rates = [learning_rate(spec, step, 20) for step in range(30)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert all(later < earlier for earlier, later in pairwise(rates[4:21]))
    assert rates[20:] == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_weight_decay_is_for_matrices(optimizer):
    recipe = small_recipe("iris")
    spec = InnerSpec(optimizer=optimizer, lr=1.0, weight_decay=0.5, batch=1, steps=1)
    groups = build_optimizer(spec, alone(recipe, build_model(recipe))).param_groups
    assert {parameter.ndim: group["weight_decay"] for group in groups for parameter in group["params"]} == {
        2: 0.5,
        1: 0.0,
    }


def test_a_tiny_llama_learns(tmp_path):
    recipe = small_recipe("language", {"train.inner.batch": 8})
    shard = make_shards(recipe, tmp_path, TWO_SITES)["aws-1"]
    data = open_data(recipe, shard)
    torch.manual_seed(0)
    model = build_model(recipe)
    parallel = alone(recipe, model)
    optimizer = build_optimizer(InnerSpec(lr=0.01, batch=8, steps=40), parallel)
    before = measure(recipe, predictor(model, CPU), data.validation(0)).quality(recipe)["bits_per_byte"]
    for step in range(40):
        parallel.train_step(data.batch(0, 8 * step, 8))
        optimizer.step()
    after = measure(recipe, predictor(model, CPU), data.validation(0)).quality(recipe)["bits_per_byte"]
    assert 7 < before < 9
    assert after < 5.5


def test_a_prediction_is_made_without_dropout_and_leaves_training_on():
    model = torch.nn.Sequential(torch.nn.Dropout(0.5)).train()
    inputs = np.ones((2, 8), dtype=np.float32)
    np.testing.assert_array_equal(predictor(model, CPU)(inputs), inputs)
    assert model.training
    assert model[0].training


@pytest.mark.parametrize(
    ("name", "files"),
    [("iris", {"labels.json"}), ("language", {"config.json", "tokenizer.json", "tokenizer_config.json"})],
)
def test_a_saved_model_predicts_the_same_and_saving_says_nothing(tmp_path, capfd, name, files):
    recipe = small_recipe(name)
    shard = make_shards(recipe, tmp_path, TWO_SITES)["aws-1"]
    model = build_model(recipe)
    (tmp_path / "model").mkdir()
    save_model(model, recipe, tmp_path / "model", shard)
    loaded, its_recipe = load_model(tmp_path / "model")
    assert capfd.readouterr() == ("", "")
    assert its_recipe == recipe
    assert {path.name for path in (tmp_path / "model").iterdir()} >= files | {"model.safetensors", "recipe.json"}
    inputs = torch.zeros(2, 4) if name == "iris" else torch.zeros(2, 5, dtype=torch.int64)
    assert torch.equal(logits(model, inputs), logits(loaded, inputs))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model.config.vocab_size": 100}, "vocab_size 100 is less than the 258"),
        ({"model.config.max_position_embeddings": 16}, "data.context 32 is more than .* 16"),
        ({"model.config.model_type": "no-such-model"}, "model.config of kind 'no-such-model'"),
        ({"model.config.num_attention_heads": 3}, "model.config of kind 'llama'"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        build_model(small_recipe("language", overrides))


def events():
    for step in range(1, 7):
        yield StepEvent(t=step, site="aws-1", step=step, loss=1.0, samples=12, seconds=0.1)
        if step % 2 == 0:
            yield RoundEvent(
                t=step, site="aws-1", round=step // 2, rounds=6, epoch=1, loss=0.93124, metrics={"accuracy": 0.70833, "brier": 0.5},
                bytes_sent=1, bytes_received=1, wait_s=0, seconds=0.214,
            )  # fmt: skip


def write(log, items):
    for event in items:
        {StepEvent: log.step, RoundEvent: log.round_committed, NoteEvent: log.note}[type(event)](event)


def test_events_come_back_in_order(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    write(log, events())
    log.close()
    assert list(read_events(tmp_path / "events.jsonl")) == list(events())


def test_a_resumed_run_has_each_step_once(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    write(log, events())
    log.rewind(number=2, step=4)
    write(log, [event for event in events() if event.t > 4])
    log.close()
    assert list(read_events(tmp_path / "events.jsonl")) == list(events())


def test_a_line_that_a_kill_tore_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    write(log, events())
    log.close()
    path.write_text(path.read_text() + '{"event": "st')
    log = EventLog(path)
    note = NoteEvent(t=9, site="aws-1", text="again")
    write(log, [note])
    log.close()
    assert list(read_events(path)) == [*events(), note]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_the_console_shows_the_classic_case(capsys):
    recipe = small_recipe("iris", {"train.epochs": 2, "train.rounds_per_epoch": 2})
    console = Console(recipe.train, make_plan(recipe))
    rounds = [event for event in events() if isinstance(event, RoundEvent)]
    for event in rounds:
        console.round_started(event.round)
        console.round_committed(event)
    lines = capsys.readouterr().out.splitlines()
    figures = ["- loss: 0.9312 - acc: 0.7083", "- time: 0.21s"]
    rule = "─" * len(lines[1])
    assert lines == [
        "Epoch 1/2", rule, "Batch 1/2", *figures, "Batch 2/2", *figures, "Epoch 2/2", rule, "Batch 1/2", *figures
    ]  # fmt: skip


def test_the_console_counts_the_rounds_of_an_epoch_by_the_plan(capsys):
    recipe = small_recipe("language", {"train.epochs": 2, "train.steps_per_epoch": 6})
    console = Console(recipe.train, make_plan(recipe))
    for number in (1, 2, 3):
        console.round_started(number)
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("─")]
    assert lines == ["Epoch 1/2", "Batch 1/2", "Batch 2/2", "Epoch 2/2", "Batch 1/1"]
