"""Predictions reduced to sums and counts: all that leaves a site of them, and enough to say how good they are.

Needs numpy alone, so any runtime can be judged.
"""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from workloads.spec.base import Frozen
from workloads.spec.data import TextData
from workloads.spec.recipe import Recipe
from workloads.trainer.shard_files import BYTE_SIZES
from workloads.trainer.tokenizer import BYTES

Predict = Callable[[NDArray[Any]], NDArray[Any]]  # inputs -> logits [..., classes]
Batch = tuple[NDArray[Any], NDArray[np.int64]]  # inputs and targets
NonNegative = Annotated[float, Field(ge=0)]

CONFIDENCE_BINS = 15  # as in Guo et al. (arXiv 1706.04599)
SCORE_BINS = 512


class Score(Frozen):
    """Sums over predictions. Those of samples with a class have `squares` and `confident`; of two classes, `ranked` too."""

    nats: NonNegative  # summed cross-entropy
    correct: NonNegativeInt
    targets: tuple[NonNegativeInt, ...]  # how often each class or token was the right answer
    bytes: NonNegativeInt = 0  # of text that the targets stand for; 0: not of text, or not known
    squares: NonNegative = 0.0  # summed over classes: squared distance of the chances given from what came
    confident: tuple[tuple[NonNegativeInt, NonNegative, NonNegativeInt], ...] = ()  # by the likeliest class's chance:
    # how often it lay in this bin, the sum of it, and how often that class was right
    ranked: tuple[tuple[NonNegativeInt, ...], tuple[NonNegativeInt, ...]] = (
        (),
        (),
    )  # chance given to class 1, in bins,
    # of samples of class 0 and of class 1

    def quality(self, recipe: Recipe) -> dict[str, float]:
        """`loss` in nats a target; of text `bits_per_byte`: all targets are paid for, bytes are counted.

        With classes `accuracy`; `brier`, the mean squared distance of chances from outcomes (Brier, 1950; of two classes
        that of class 1, half of the sum over both); `calibration_error`, the mean distance of confidence from accuracy
        over `CONFIDENCE_BINS` bins (ECE). With two classes `auc`, the area under the ROC curve for class 1.
        """
        count = sum(self.targets)
        quality = {"loss": self.nats / count}
        if isinstance(recipe.data, TextData):
            return quality | ({"bits_per_byte": self.nats / math.log(2) / self.bytes} if self.bytes else {})
        quality |= {"accuracy": self.correct / count, "brier": self.squares / count / (2 if self._is_binary else 1)}
        quality["calibration_error"] = sum(abs(total - right) for _, total, right in self.confident) / count
        if self._is_binary and min(self.targets) > 0:
            quality["auc"] = area_under_curve(*self.ranked)[0]
        return quality

    def __add__(self, other: "Score") -> "Score":
        """The score of both's predictions."""
        return Score(
            nats=self.nats + other.nats,
            correct=self.correct + other.correct,
            targets=_sums(self.targets, other.targets),
            bytes=self.bytes + other.bytes,
            squares=self.squares + other.squares,
            confident=tuple(
                (ours[0] + theirs[0], ours[1] + theirs[1], ours[2] + theirs[2])
                for ours, theirs in zip(self.confident, other.confident, strict=True)
            ),
            ranked=(_sums(self.ranked[0], other.ranked[0]), _sums(self.ranked[1], other.ranked[1])),
        )

    @property
    def _is_binary(self) -> bool:
        return len(self.targets) == 2


def area_under_curve(negatives: Iterable[int], positives: Iterable[int]) -> tuple[float, float]:
    """Area under the ROC curve from histograms of scores, and how far off the bins can make it.

    It is the chance that a positive is ranked above a negative. Which of two in the same bin is the higher is not known,
    so they count one half, and the area is off by at most half of the share of such pairs.
    """
    below, above = np.array(list(negatives), dtype=np.float64), np.array(list(positives), dtype=np.float64)
    pairs = float(below.sum() * above.sum())
    ties = float(below @ above)
    wins = float(above @ (np.cumsum(below) - below))
    return (wins + ties / 2) / pairs, ties / 2 / pairs


def measure(
    recipe: Recipe, predict: Predict, batches: Iterable[Batch], sizes: NDArray[np.int64] | None = None
) -> Score:
    """What `predict` is worth on `batches`, of which there is at least one.

    `sizes` [vocabulary] are the bytes of each token; those of the byte-level tokens are known.
    """
    if sizes is None and isinstance(recipe.data, TextData) and recipe.data.tokenizer == BYTES:
        sizes = BYTE_SIZES
    scores = [_judge(recipe, predict(inputs).astype(np.float64), wanted, sizes) for inputs, wanted in batches]
    total = scores[0]
    for score in scores[1:]:
        total += score
    return total


def _judge(
    recipe: Recipe, logits: NDArray[np.float64], wanted: NDArray[np.int64], sizes: NDArray[np.int64] | None
) -> Score:
    """The score of `logits` [..., classes] against `wanted` [...]."""
    classes = logits.shape[-1]
    highest = logits.max(axis=-1, keepdims=True)
    powers = np.exp(logits - highest)
    sums = powers.sum(axis=-1)
    nats = highest[..., 0] + np.log(sums) - np.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]
    right = logits.argmax(axis=-1) == wanted
    targets = tuple(np.bincount(wanted.ravel(), minlength=classes).tolist())
    plain = Score(nats=max(0.0, float(nats.sum())), correct=int(right.sum()), targets=targets)
    if isinstance(recipe.data, TextData):
        return plain if sizes is None else plain.model_copy(update={"bytes": int(sizes[wanted].sum())})
    chances = powers / sums[:, None]
    truth = np.eye(classes)[wanted]
    details: dict[str, Any] = {
        "squares": float(np.square(chances - truth).sum()),
        "confident": _confidence(chances.max(axis=-1), right),
    }
    if classes == 2:
        details["ranked"] = tuple(_histogram(chances[wanted == label, 1], SCORE_BINS) for label in (0, 1))
    return plain.model_copy(update=details)


def _confidence(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[tuple[int, float, int], ...]:
    places = _bins(confidence, CONFIDENCE_BINS)
    return tuple(
        (int(inside.sum()), float(confidence[inside].sum()), int(right[inside].sum()))
        for inside in (places == place for place in range(CONFIDENCE_BINS))
    )


def _histogram(values: NDArray[np.float64], bins: int) -> tuple[int, ...]:
    return tuple(np.bincount(_bins(values, bins), minlength=bins).tolist())


def _bins(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Places of `values` from 0 to 1 among `bins` equal ones."""
    return np.minimum((values * bins).astype(np.int64), bins - 1)


def _sums(ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(first + second for first, second in zip(ours, theirs, strict=True))
