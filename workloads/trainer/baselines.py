"""The nearest mean: what is had of a site's samples by averaging alone, without training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.spec.data import AudioData, LabelledTextData
from workloads.spec.recipe import MlpModel, Recipe
from workloads.trainer.scores import Predict
from workloads.trainer.shard_files import Arrays, samples_of

_BANDS, _MOMENTS = 16, 8  # of a recording's energy
_SILENCE = 1e-3  # added to an energy before its logarithm is taken


def nearest_mean(recipe: Recipe, train: Arrays, classes: int) -> Predict:
    """A function from samples to logits: minus half of the squared distance to each class's mean over `train`.

    Distances are between features that are known to tell samples apart: a table's columns and pixels as they are,
    recordings' log energy in bands and moments, how often a text has each token. All are divided by their standard
    deviation. A class without samples is never the nearest.
    """
    known = _features(recipe, samples_of(train, slice(None)))
    spread = known.std(axis=0)
    spread[spread == 0] = 1
    labels = train["labels"]
    means = np.stack(
        [
            known[labels == label].mean(axis=0) if (labels == label).any() else np.full(known.shape[1], np.inf)
            for label in range(classes)
        ]
    )

    def predict(inputs: NDArray[Any]) -> NDArray[np.float64]:
        away = (_features(recipe, inputs)[:, None] - means) / spread
        distances = np.square(away).sum(axis=-1)
        logits: NDArray[np.float64] = -np.minimum(distances, np.finfo(np.float32).max) / 2
        return logits

    return predict


def _features(recipe: Recipe, samples: NDArray[Any]) -> NDArray[np.float64]:
    """Features [samples, features] of what a model is shown."""
    if isinstance(recipe.data, AudioData):
        return _energies(samples)
    if isinstance(recipe.data, LabelledTextData):
        highest = int(samples.max(initial=0)) + 1
        return np.stack([np.bincount(row, minlength=max(highest, _TOKENS))[:_TOKENS] for row in samples]).astype(float)
    flat = samples.reshape(len(samples), -1).astype(np.float64)
    if isinstance(recipe.model, MlpModel) and recipe.model.scale == "log":
        return np.sign(flat) * np.log1p(np.abs(flat))
    return flat


_TOKENS = 4096  # the first, of which frequencies are taken


def _energies(waves: NDArray[Any]) -> NDArray[np.float64]:
    """Log energy [recordings, moments x bands], bands as wide as the ear's: half an octave more or less each."""
    length = waves.shape[1] // _MOMENTS
    frames = waves[:, : length * _MOMENTS].reshape(len(waves), _MOMENTS, length) * np.hanning(length)
    power = np.square(np.abs(np.fft.rfft(frames, axis=-1)))
    edges = np.unique(np.geomspace(1, power.shape[-1], _BANDS + 1).round().astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=-1)
    return np.log(bands + _SILENCE).reshape(len(waves), -1)
