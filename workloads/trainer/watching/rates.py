"""Speeds: of a model on its hardware, and smoothed for eyes."""

from dataclasses import dataclass
from typing import Self

from workloads.planning.compute import sample_flops
from workloads.planning.recognise import architecture
from workloads.spec.data import LabelledTextData, TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe

HALF_LIFE_S = 10.0


def mfu(flops_a_sample: float, samples_per_s: float, peak_flops: float) -> float:
    """Model FLOPs utilisation, a fraction: what the model needs of what the hardware can do (arXiv 2204.02311, appendix B).

    `flops_a_sample` is of forward and backward without recomputation, `peak_flops` of all workers together, a second.
    Raises `ValueError` unless `peak_flops` is positive.
    """
    if peak_flops <= 0:
        raise ValueError(f"peak_flops is {peak_flops:g}; give what the hardware can do, which is more than 0")
    return flops_a_sample * samples_per_s / peak_flops


def training_flops(parameters: int, tokens: int = 1) -> float:
    """FLOPs of forward and backward over `tokens` tokens: 6 a parameter and token (arXiv 2001.08361, section 2.1).

    Attention over the context is left out, so for long contexts it is a bound from below.
    """
    return 6.0 * parameters * tokens


def flops_a_sample(recipe: Recipe, parameters: int) -> float | None:
    """FLOPs of one sample, forward and backward: the planner's where it knows the model, attention included.

    For other models of text, `training_flops` of as many `parameters`; None where not even that is known.
    """
    try:
        return sample_flops(architecture(recipe))
    except UserError:
        tokens = tokens_a_sample(recipe)
        return None if tokens is None else training_flops(parameters, tokens)


def tokens_a_sample(recipe: Recipe) -> int | None:
    """Tokens of one sample; None where the data is not text."""
    data = recipe.data
    return data.context if isinstance(data, TextData | LabelledTextData) else None


@dataclass(frozen=True)
class Smoothed:
    """A mean that forgets: what was seen `half_life_s` seconds ago counts half. Early means are not drawn to zero.

    The correction for the start is Adam's (arXiv 1412.6980, section 3).
    """

    half_life_s: float = HALF_LIFE_S
    total: float = 0.0
    weight: float = 0.0

    @property
    def value(self) -> float | None:
        """The mean; None before anything was seen."""
        return self.total / self.weight if self.weight else None

    def after(self, value: float, seconds: float) -> Self:
        """The mean once `value` has held for `seconds` seconds. No time is no evidence."""
        if seconds <= 0:
            return self
        keep = 0.5 ** (seconds / self.half_life_s)
        return type(self)(self.half_life_s, self.total * keep + value * (1 - keep), self.weight * keep + 1 - keep)
