"""Metrics come from sums and counts, so unequal shards weigh by their samples."""

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.neighbors import NearestCentroid

from tests.kit.worlds import TWO_SITES, make_shards, small_recipe
from workloads.spec.recipe import load_recipe
from workloads.trainer.evaluation import HELD_OUT_WINDOWS, Tally, combine, held_out_batches, measure, score, tally
from workloads.trainer.scores import area_under_curve
from workloads.trainer.shard_files import BYTE_SIZES, read_part, token_stream, token_windows
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
    """Four targets of 8 bits each, one of them a mark."""
    recipe, targets = small_recipe("language"), np.array([[65, 66, 67, 257]])
    measured = measure(recipe, lambda inputs: np.zeros((*inputs.shape, 256)), [(targets, targets % 256)], BYTE_SIZES)
    assert measured.quality(recipe)["bits_per_byte"] == pytest.approx(8)
    measured = measure(recipe, lambda inputs: np.zeros((*inputs.shape, VOCABULARY)), [(targets, targets)])
    assert measured.quality(recipe)["bits_per_byte"] == pytest.approx(4 * math.log2(VOCABULARY) / 3)
    assert measured.bytes == 3


def test_of_tokens_whose_bytes_are_not_known_there_is_a_loss_alone():
    recipe = small_recipe("language", {"data.tokenizer": "/somewhere"})
    measured = measure(
        recipe, lambda inputs: np.zeros((*inputs.shape, 300)), [(np.ones((2, 3), int), np.ones((2, 3), int))]
    )
    assert measured.quality(recipe) == {"loss": pytest.approx(math.log(300))}


def judged(chances, labels, parts=1):
    """The quality of a model that gives class 1 these `chances`, measured in `parts` and added."""
    recipe = load_recipe("risk")
    split = zip(np.array_split(chances, parts), np.array_split(labels, parts), strict=True)
    scores = [
        measure(recipe, lambda _, p=part: np.log(np.stack([1 - p, p], axis=1)), [(np.zeros((len(part), 9)), wanted)])
        for part, wanted in split
    ]
    total = scores[0]
    for score_ in scores[1:]:
        total += score_
    return total, total.quality(recipe)


def two_classes(count=600, seed=1):
    source = np.random.default_rng(seed)
    labels = (source.random(count) < 0.3).astype(np.int64)
    return 1 / (1 + np.exp(-source.normal(2.0 * labels - 1.5, 1.5))), labels


def test_the_area_under_the_curve_is_exact_to_what_the_bins_leave_open():
    chances, labels = two_classes()
    measured, quality = judged(chances, labels)
    exact = roc_auc_score(labels, chances)
    _, bound = area_under_curve(*measured.ranked)
    assert abs(quality["auc"] - exact) <= bound < 0.002
    assert abs(quality["auc"] - exact) > 0


def test_bins_that_are_too_wide_say_so():
    """Half of all pairs lie in one bin, so the area may be off by a quarter."""
    assert area_under_curve((1, 1), (0, 2)) == (0.75, 0.25)
    assert area_under_curve((2, 0), (0, 3)) == (1.0, 0.0)


def test_the_brier_score_is_that_of_the_field():
    chances, labels = two_classes()
    assert judged(chances, labels)[1]["brier"] == pytest.approx(brier_score_loss(labels, chances))
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    three = measure(load_recipe("iris"), lambda _: logits, [(np.zeros((2, 4)), np.array([0, 2]))])
    assert three.quality(load_recipe("iris"))["brier"] == pytest.approx((0.09 + 0.04 + 0.01 + 0.01 + 0.64 + 0.81) / 2)


def test_the_calibration_error_is_the_distance_of_confidence_from_accuracy():
    """Of ten answers given with a chance of 0.9 seven are right, and of ten with 0.6 all."""
    chances, labels = np.repeat([0.9, 0.4], 10), np.array([1] * 7 + [0] * 13)
    assert judged(chances, labels)[1]["calibration_error"] == pytest.approx((0.2 + 0.4) / 2)


def test_scores_of_unequal_parts_add_up_to_that_of_the_whole():
    chances, labels = two_classes(601)
    assert judged(chances, labels, parts=7)[1] == pytest.approx(judged(chances, labels)[1])


def test_the_baselines_of_risk_know_how_often_it_is_refused_and_the_mean_of_each_class(tmp_path):
    recipe = load_recipe("risk")
    shards = make_shards(recipe, tmp_path, TWO_SITES)
    labels = np.concatenate([read_part(shard, "held_out")["labels"] for shard in shards.values()])
    metrics = score(recipe, certain_of(0, 2), shards)
    share = labels.mean()
    assert metrics["accuracy"] == metrics["majority_accuracy"] == pytest.approx(1 - share)
    assert metrics["prior_brier"] == pytest.approx(share * (1 - share), abs=1e-3)
    assert metrics["prior_loss"] == pytest.approx(
        -share * math.log(share) - (1 - share) * math.log(1 - share), abs=1e-3
    )
    assert metrics["prior_auc"] == metrics["auc"] == 0.5
    assert 0.7 < metrics["nearest_mean_auc"] < 0.9


def test_the_nearest_mean_is_that_of_each_sites_own_training_part(tmp_path):
    recipe = load_recipe("iris")
    shards = make_shards(recipe, tmp_path, TWO_SITES)
    right = 0
    for shard in shards.values():
        train, held_out = read_part(shard, "train"), read_part(shard, "held_out")
        scale = train["features"].std(axis=0)
        model = NearestCentroid().fit(train["features"] / scale, train["labels"])
        right += int((model.predict(held_out["features"] / scale) == held_out["labels"]).sum())
    assert score(recipe, certain_of(0, 3), shards)["nearest_mean_accuracy"] == right / 30


def test_only_sums_and_counts_leave_a_site(tmp_path):
    """However many samples there are, a tally is of the same size."""
    recipe = load_recipe("vision")
    sizes = []
    for held_out in (0.1, 0.4):
        some = load_recipe("vision", {"data.held_out": held_out})
        (shard,) = make_shards(some, tmp_path / str(held_out), ("aws-1",)).values()
        sums = tally(recipe, lambda inputs: np.zeros((len(inputs), 10)), shard)
        assert Tally.model_validate_json(sums.model_dump_json()) == sums
        sizes.append(
            len(np.concatenate([np.ravel(v) for v in (sums.score.targets, sums.score.confident, sums.trained_on)]))
        )
    assert sizes[0] == sizes[1] == 10 + 3 * 15 + 10


def test_held_out_text_is_evenly_spaced_and_bounded(tmp_path):
    recipe = small_recipe("language")
    shard = make_shards(recipe, tmp_path, TWO_SITES)["aws-1"]
    every = token_windows(read_part(shard, "held_out"), 32)
    inputs = np.concatenate([batch for batch, _ in held_out_batches(recipe, shard)])
    targets = np.concatenate([batch for _, batch in held_out_batches(recipe, shard)])
    assert len(every) > HELD_OUT_WINDOWS == len(inputs)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(inputs[HELD_OUT_WINDOWS // 2], every[len(every) // 2][:-1])
