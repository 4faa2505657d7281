"""How good a model is on held-out data, with the baseline to beat. Needs numpy alone, so any runtime can be judged.

A shard is reduced to sums and counts where it lies; only those are combined, so data never leaves its site.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from workloads.spec.base import Frozen
from workloads.spec.recipe import MlpModel, Recipe, TextData
from workloads.trainer.shard_files import read_part, token_stream, token_windows
from workloads.trainer.tokenizer import BEGIN, VOCABULARY

Predict = Callable[[NDArray[Any]], NDArray[Any]]  # inputs -> logits [..., classes]
Batch = tuple[NDArray[Any], NDArray[np.int64]]  # inputs and targets

HELD_OUT_WINDOWS = 96  # of text, evenly spaced over a site's held-out part: a minute's work must not become an hour's
_WINDOWS_A_BATCH = 8


class Score(Frozen):
    """Sums over predictions: all that is needed of them to say how good they are."""

    nats: Annotated[float, Field(ge=0)]  # summed cross-entropy
    correct: NonNegativeInt
    targets: tuple[NonNegativeInt, ...]  # how often each class or token was the right answer

    def quality(self, recipe: Recipe) -> dict[str, float]:
        """`loss` in nats a target, and `accuracy` or `bits_per_byte`; all targets are paid for, bytes are counted."""
        count = sum(self.targets)
        if isinstance(recipe.data, TextData):
            return {"bits_per_byte": self.nats / math.log(2) / sum(self.targets[:BEGIN]), "loss": self.nats / count}
        return {"accuracy": self.correct / count, "loss": self.nats / count}


class Tally(Frozen):
    """One shard reduced to sums and counts."""

    score: Score
    trained_on: tuple[NonNegativeInt, ...]  # how often each class or token is in the training part


def held_out_batches(recipe: Recipe, shard: Path) -> Iterator[Batch]:
    """Held-out data of a shard.

    Tables: features float32 [rows, inputs] and labels int64 [rows]. Text: input and next tokens, int64
    [windows, context] both, from at most `HELD_OUT_WINDOWS` evenly spaced windows.
    """
    part = read_part(shard, "held_out")
    if isinstance(recipe.data, TextData):
        yield from window_batches(spread(token_windows(part, recipe.data.context), HELD_OUT_WINDOWS))
    else:
        yield part["features"], part["labels"]


def spread(windows: NDArray[np.int16], limit: int) -> NDArray[np.int16]:
    """At most `limit` of `windows`, evenly spaced."""
    count = min(limit, len(windows))
    return windows[np.arange(count) * len(windows) // count]


def window_batches(windows: NDArray[np.int16]) -> Iterator[Batch]:
    """Windows [windows, context + 1] as batches of inputs and next tokens."""
    for start in range(0, len(windows), _WINDOWS_A_BATCH):
        batch = windows[start : start + _WINDOWS_A_BATCH].astype(np.int64)
        yield batch[:, :-1], batch[:, 1:]


def measure(recipe: Recipe, predict: Predict, batches: Iterable[Batch]) -> Score:
    """Cross-entropy and hits of `predict` over `batches`."""
    classes = _classes(recipe)
    nats, correct, targets = 0.0, 0, np.zeros(classes, dtype=np.int64)
    for inputs, wanted in batches:
        logits = predict(inputs).astype(np.float64)
        highest = logits.max(axis=-1, keepdims=True)
        norms = highest[..., 0] + np.log(np.exp(logits - highest).sum(axis=-1))
        nats += float((norms - np.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]).sum())
        correct += int((logits.argmax(axis=-1) == wanted).sum())
        targets += np.bincount(wanted.ravel(), minlength=classes)
    return Score(nats=nats, correct=correct, targets=tuple(targets.tolist()))


def tally(recipe: Recipe, predict: Predict, shard: Path) -> Tally:
    """`shard` reduced to sums and counts."""
    part = read_part(shard, "train")
    seen = token_stream(part) if isinstance(recipe.data, TextData) else part["labels"]
    return Tally(
        score=measure(recipe, predict, held_out_batches(recipe, shard)),
        trained_on=tuple(np.bincount(seen, minlength=_classes(recipe)).tolist()),
    )


def combine(recipe: Recipe, tallies: Iterable[Tally]) -> dict[str, float]:
    """Metrics over all sites, each sample weighing the same, with the baseline of a model that knows only frequencies.

    The baseline comes from the training parts and is judged on the held-out ones: `majority_accuracy` always answers
    the commonest class; `unigram_bits_per_byte` codes each token by its frequency (add-one smoothed).
    """
    parts = list(tallies)
    score = Score(
        nats=sum(part.score.nats for part in parts),
        correct=sum(part.score.correct for part in parts),
        targets=tuple(np.sum([part.score.targets for part in parts], axis=0).tolist()),
    )
    return score.quality(recipe) | _baseline(recipe, score, np.sum([part.trained_on for part in parts], axis=0))


def score(recipe: Recipe, predict: Predict, shards: Mapping[str, Path]) -> dict[str, float]:
    """Metrics of `predict` on the held-out data of all `shards`, by site, and the baseline."""
    return combine(recipe, [tally(recipe, predict, shard) for shard in shards.values()])


def _baseline(recipe: Recipe, held_out: Score, trained_on: NDArray[np.int64]) -> dict[str, float]:
    targets = np.array(held_out.targets)
    if isinstance(recipe.data, TextData):
        bits = -np.log2((trained_on + 1) / (trained_on.sum() + len(trained_on)))
        return {"unigram_bits_per_byte": float(targets @ bits / targets[:BEGIN].sum())}
    return {"majority_accuracy": float(targets[trained_on.argmax()] / targets.sum())}


def _classes(recipe: Recipe) -> int:
    return recipe.model.classes if isinstance(recipe.model, MlpModel) else VOCABULARY
