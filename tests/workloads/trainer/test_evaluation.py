"""Metrics come from sums and counts, so unequal shards weigh by their samples."""

import math

import numpy as np
import pytest

from tests.kit.worlds import TWO_SITES, make_shards, small_recipe
from workloads.trainer.evaluation import HELD_OUT_WINDOWS, Score, combine, held_out_batches, measure, score, tally
from workloads.trainer.shard_files import read_part, token_stream, token_windows
from workloads.trainer.tokenizer import VOCABULARY


def certain_of(label, classes):
    """A model that gives all but certainly `label`, whatever it is shown."""
    return lambda inputs: np.where(np.arange(classes) == label, 20.0, 0.0) + np.zeros((*inputs.shape[:1], classes))


def test_accuracy_and_loss_are_those_of_the_predictions():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]))
    recipe = small_recipe("iris")
    measured = measure(recipe, lambda _: logits, [(np.zeros((3, 4)), np.array([0, 1, 0]))])
    quality = measured.quality(recipe)
    assert quality["accuracy"] == pytest.approx(2 / 3)
    assert quality["loss"] == pytest.approx(-math.log(0.7 * 0.8 * 0.3) / 3)


def test_unequal_shards_weigh_by_their_samples(tmp_path):
    recipe = small_recipe("iris", {"data.held_out": 0.22})
    shards = make_shards(recipe, tmp_path, ("aws-1", "aws-2", "os-1", "os-2"))
    labels = np.concatenate([read_part(shard, "held_out")["labels"] for shard in shards.values()])
    sizes = {len(read_part(shard, "held_out")["labels"]) for shard in shards.values()}
    assert len(sizes) > 1
    assert score(recipe, certain_of(2, 3), shards)["accuracy"] == pytest.approx((labels == 2).mean())


def test_combining_tallies_equals_scoring_the_union(tmp_path):
    recipe = small_recipe("language")
    shards = make_shards(recipe, tmp_path, TWO_SITES)
    weights = np.random.default_rng(0).normal(size=(VOCABULARY, VOCABULARY))
    tallies = [tally(recipe, lambda inputs: weights[inputs], shard) for shard in shards.values()]
    union = [batch for shard in shards.values() for batch in held_out_batches(recipe, shard)]
    together = measure(recipe, lambda inputs: weights[inputs], union).quality(recipe)
    combined = combine(recipe, tallies)
    assert {name: combined[name] for name in together} == pytest.approx(together)


def test_the_majority_baseline_is_the_commonest_class_of_training(tmp_path):
    recipe = small_recipe("iris")
    shards = make_shards(recipe, tmp_path, TWO_SITES)
    assert score(recipe, certain_of(0, 3), shards)["majority_accuracy"] == pytest.approx(1 / 3)


def test_a_model_that_knows_only_frequencies_is_as_good_as_the_unigram_baseline(tmp_path):
    recipe = small_recipe("language")
    shards = make_shards(recipe, tmp_path, TWO_SITES)
    counts = sum(np.bincount(token_stream(read_part(s, "train")), minlength=VOCABULARY) for s in shards.values()) + 1
    metrics = score(recipe, lambda inputs: np.log(counts) + np.zeros((*inputs.shape, VOCABULARY)), shards)
    assert metrics["bits_per_byte"] == pytest.approx(metrics["unigram_bits_per_byte"])
    assert 4 < metrics["unigram_bits_per_byte"] < 6


def test_all_tokens_are_paid_for_and_only_bytes_are_counted():
    targets = np.zeros(VOCABULARY, dtype=int)
    targets[[65, 257]] = 3, 1
    quality = Score(nats=8 * math.log(2), correct=0, targets=tuple(targets.tolist())).quality(small_recipe("language"))
    assert quality["bits_per_byte"] == pytest.approx(8 / 3)


def test_held_out_text_is_evenly_spaced_and_bounded(tmp_path):
    recipe = small_recipe("language")
    shard = make_shards(recipe, tmp_path, TWO_SITES)["aws-1"]
    every = token_windows(read_part(shard, "held_out"), 32)
    inputs = np.concatenate([batch for batch, _ in held_out_batches(recipe, shard)])
    targets = np.concatenate([batch for _, batch in held_out_batches(recipe, shard)])
    assert len(every) > HELD_OUT_WINDOWS == len(inputs)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(inputs[HELD_OUT_WINDOWS // 2], every[len(every) // 2][:-1])
