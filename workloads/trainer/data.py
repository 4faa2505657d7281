"""Training batches in a deterministic order: which samples come next follows from the seed and the position alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.spec.data import TableData, TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe
from workloads.trainer.evaluation import sample_batches, spread, window_batches
from workloads.trainer.scores import Batch
from workloads.trainer.shard_files import read_part, samples_of, token_windows

_VALIDATION_WINDOWS = 8
_VALIDATION_SAMPLES = 64


class Data(Protocol):
    """One site's data. `round_number` counts from 0; `position` is the number of samples that came before."""

    def batch(self, round_number: int, position: int, size: int) -> Batch:
        """The next `size` training samples: inputs and targets."""

    def validation(self, round_number: int) -> Iterator[Batch]:
        """Samples that this round does not train on."""


def open_data(recipe: Recipe, shard: Path) -> Data:
    """The data of `shard`, which is verified. Raises `UserError` if there is too little of it."""
    match recipe.data:
        case TextData():
            return TextWindows(recipe, shard)
        case TableData():
            return TableSubsets(recipe, shard)
        case _:
            return ClassSamples(recipe, shard)


class TableSubsets:
    """A table: round `r` trains on the site's own subset `r` modulo their number, and validates on the others."""

    def __init__(self, recipe: Recipe, shard: Path) -> None:
        self._part = read_part(shard, "train")
        self._subset = self._part["subset"]
        self._own = np.unique(self._subset)
        self._seed = recipe.train.seed
        if len(self._own) < 2:
            raise UserError(f"{shard}: {len(self._own)} subset of data; a site needs two, raise data.subsets")

    def batch(self, round_number: int, position: int, size: int) -> Batch:
        """Features float32 [size, inputs] and labels int64 [size] of the round's subset."""
        rows = np.flatnonzero(self._trains(round_number))
        chosen = rows[ordered((self._seed, round_number), len(rows), position, size)]
        return samples_of(self._part, chosen), self._part["labels"][chosen]

    def validation(self, round_number: int) -> Iterator[Batch]:
        """The site's other subsets."""
        yield from sample_batches(self._part, np.flatnonzero(~self._trains(round_number)))

    def _trains(self, round_number: int) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self._subset == self._own[round_number % len(self._own)]
        return mask


class ClassSamples:
    """Pictures, recordings or labelled texts: shuffled, a new shuffle each pass; validation on a few held-out ones."""

    def __init__(self, recipe: Recipe, shard: Path) -> None:
        self._train, self._held_out = read_part(shard, "train"), read_part(shard, "held_out")
        self._seed = recipe.train.seed
        self._validation = spread(np.arange(len(self._held_out["labels"])), _VALIDATION_SAMPLES)

    def batch(self, round_number: int, position: int, size: int) -> Batch:  # noqa: ARG002 - they are one pool
        """Samples [size, ...] as `samples_of` gives them, and labels int64 [size]."""
        chosen = ordered((self._seed,), len(self._train["labels"]), position, size)
        return samples_of(self._train, chosen), self._train["labels"][chosen]

    def validation(self, round_number: int) -> Iterator[Batch]:  # noqa: ARG002
        """A few held-out samples, evenly spaced, the same each time."""
        yield from sample_batches(self._held_out, self._validation)


class TextWindows:
    """Text: shuffled windows, a new shuffle each pass; validation on a few held-out windows, the same each time."""

    def __init__(self, recipe: Recipe, shard: Path) -> None:
        if not isinstance(recipe.data, TextData):
            raise TypeError(f"recipe {recipe.name} is not about text")
        self._windows = token_windows(read_part(shard, "train"), recipe.data.context)
        self._seed = recipe.train.seed
        held_out = token_windows(read_part(shard, "held_out"), recipe.data.context)
        self._validation = spread(held_out, _VALIDATION_WINDOWS)

    def batch(self, round_number: int, position: int, size: int) -> Batch:  # noqa: ARG002 - text is one pool
        """Input and next tokens, int64 [size, context] both."""
        windows = self._windows[ordered((self._seed,), len(self._windows), position, size)].astype(np.int64)
        return windows[:, :-1], windows[:, 1:]

    def validation(self, round_number: int) -> Iterator[Batch]:  # noqa: ARG002
        """A few held-out windows."""
        yield from window_batches(self._validation)


def ordered(seed: tuple[int, ...], items: int, position: int, count: int) -> NDArray[np.int64]:
    """Places `position` to `position + count` of an endless order: one permutation of `items` after another."""
    first, last = position // items, (position + count - 1) // items
    passes = [np.random.default_rng((*seed, number)).permutation(items) for number in range(first, last + 1)]
    return np.concatenate(passes)[position - first * items :][:count]
