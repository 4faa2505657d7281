"""How good a model is on held-out data, with the baselines to beat. Needs numpy alone, so any runtime can be judged.

A shard is reduced to sums and counts where it lies; only those are combined, so data never leaves its site.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from workloads.spec.base import Frozen
from workloads.spec.data import TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe
from workloads.trainer.baselines import nearest_mean
from workloads.trainer.scores import Batch, Predict, Score, measure
from workloads.trainer.shard_files import Arrays, read_part, samples_of, token_sizes, token_stream, token_windows

__all__ = ["Batch", "Predict", "Score", "Tally", "combine", "held_out_batches", "measure", "score", "tally"]

HELD_OUT_WINDOWS = 96  # of text, evenly spaced over a site's held-out part: a minute's work must not become an hour's
_WINDOWS_A_BATCH = 8
_SAMPLES_A_BATCH = 64


class Tally(Frozen):
    """One shard reduced to sums and counts."""

    score: Score
    trained_on: tuple[NonNegativeInt, ...]  # how often each class or token is in the training part
    nearest_mean: Score | None = None  # what naming the class with the nearest mean is worth; None: of text


def held_out_batches(recipe: Recipe, shard: Path) -> Iterator[Batch]:
    """Held-out data of a shard: what the model is shown, and targets int64.

    Text: input and next tokens, int64 [windows, context] both, from at most `HELD_OUT_WINDOWS` evenly spaced windows.
    All else: the samples of `samples_of` and their classes [samples].
    """
    part = read_part(shard, "held_out")
    if isinstance(recipe.data, TextData):
        yield from window_batches(spread(token_windows(part, recipe.data.context), HELD_OUT_WINDOWS))
    else:
        yield from sample_batches(part, np.arange(len(part["labels"])))


def spread(samples: NDArray[Any], limit: int) -> NDArray[Any]:
    """At most `limit` of `samples`, evenly spaced."""
    count = min(limit, len(samples))
    return samples[np.arange(count) * len(samples) // count]


def window_batches(windows: NDArray[Any]) -> Iterator[Batch]:
    """Windows [windows, context + 1] as batches of inputs and next tokens."""
    for start in range(0, len(windows), _WINDOWS_A_BATCH):
        batch = windows[start : start + _WINDOWS_A_BATCH].astype(np.int64)
        yield batch[:, :-1], batch[:, 1:]


def sample_batches(part: Arrays, rows: NDArray[np.int64]) -> Iterator[Batch]:
    """Samples with a class, by their `rows` in `part`, as batches."""
    for start in range(0, len(rows), _SAMPLES_A_BATCH):
        batch = rows[start : start + _SAMPLES_A_BATCH]
        yield samples_of(part, batch), part["labels"][batch]


def tally(recipe: Recipe, predict: Predict, shard: Path) -> Tally:
    """`shard` reduced to sums and counts."""
    part = read_part(shard, "train")
    if isinstance(recipe.data, TextData):
        sizes = token_sizes(part)
        judged = measure(recipe, predict, held_out_batches(recipe, shard), sizes)
        return Tally(
            score=judged,
            trained_on=_counts(token_stream(part), len(judged.targets)),
        )
    judged = measure(recipe, predict, held_out_batches(recipe, shard))
    simple = nearest_mean(recipe, part, len(judged.targets))
    return Tally(
        score=judged,
        trained_on=_counts(part["labels"], len(judged.targets)),
        nearest_mean=measure(recipe, simple, held_out_batches(recipe, shard)),
    )


def combine(recipe: Recipe, tallies: Iterable[Tally]) -> dict[str, float]:
    """Metrics over all sites, each sample weighing the same, with baselines: what can be had without the model.

    They come from the training parts and are judged on the held-out ones. Of text: `unigram_bits_per_byte` codes each
    token by its frequency (add-one smoothed). Else: `majority_accuracy` always answers the commonest class;
    `prior_loss`, `prior_brier` and `prior_auc` give each class the chance that is its frequency; `nearest_mean_accuracy`
    and `nearest_mean_auc` answer by the mean that is nearest, each site by the means of its own training part.
    """
    parts = list(tallies)
    judged = reduce(add, (part.score for part in parts))
    trained_on = np.sum([part.trained_on for part in parts], axis=0)
    if isinstance(recipe.data, TextData):
        return judged.quality(recipe) | _unigram(judged, trained_on)
    simple = [part.nearest_mean for part in parts if part.nearest_mean is not None]
    known = reduce(add, simple).quality(recipe) if simple else {}
    nearest = {f"nearest_mean_{name}": known[name] for name in ("accuracy", "auc") if name in known}
    return judged.quality(recipe) | _frequencies(judged, trained_on) | nearest


def score(recipe: Recipe, predict: Predict, shards: Mapping[str, Path]) -> dict[str, float]:
    """Metrics of `predict` on the held-out data of all `shards`, by site, and the baselines."""
    return combine(recipe, [tally(recipe, predict, shard) for shard in shards.values()])


def _counts(seen: NDArray[Any], classes: int) -> tuple[int, ...]:
    counts = np.bincount(seen, minlength=classes)
    if len(counts) > classes:
        raise UserError(
            f"class or token {len(counts) - 1} is in the data, and the model knows {classes}; mend the recipe"
        )
    return tuple(counts.tolist())


def _unigram(held_out: Score, trained_on: NDArray[np.int64]) -> dict[str, float]:
    if not held_out.bytes:
        return {}
    bits = -np.log2((trained_on + 1) / (trained_on.sum() + len(trained_on)))
    return {"unigram_bits_per_byte": float(np.array(held_out.targets) @ bits / held_out.bytes)}


def _frequencies(held_out: Score, trained_on: NDArray[np.int64]) -> dict[str, float]:
    """Baselines that know how frequent each class is, and nothing of a sample."""
    targets = np.array(held_out.targets)
    count = float(targets.sum())
    chances = (trained_on + 1) / (trained_on.sum() + len(trained_on))
    squares = float(np.square(chances).sum()) + 1 - 2 * float(targets @ chances) / count
    baselines = {
        "majority_accuracy": float(targets[trained_on.argmax()] / count),
        "prior_loss": float(-(targets @ np.log(chances)) / count),
        "prior_brier": squares / (2 if len(targets) == 2 else 1),
    }
    return baselines | ({"prior_auc": 0.5} if len(targets) == 2 else {})
