"""Where to trim: the magnitude that a given share of a model's changes reaches, without sorting or holding them."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HALF_BITS = 16
_HALF = 1 << _HALF_BITS


def magnitude_threshold(vectors: Callable[[], Iterable[Tensor]], density: float) -> float:
    """The k-th largest magnitude over all elements of `vectors()`, k being `density` (0..1] of their number, at least 1.

    Exact in fp32, in two passes of counting: non-negative floats are ordered as their bit patterns are, so the first
    pass finds the upper half of the pattern and the second the lower. `vectors` is called once for each pass.
    """
    counts = np.zeros(_HALF, dtype=np.int64)
    for vector in vectors():
        counts += np.bincount(_patterns(vector) >> _HALF_BITS, minlength=_HALF)
    rank = max(1, round(density * int(counts.sum())))
    upper, above = _kth_from_top(counts, rank)
    counts = np.zeros(_HALF, dtype=np.int64)
    for vector in vectors():
        patterns = _patterns(vector)
        inside = patterns[patterns >> _HALF_BITS == upper]
        counts += np.bincount(inside & (_HALF - 1), minlength=_HALF)
    lower, _ = _kth_from_top(counts, rank - above)
    return float(np.array([upper << _HALF_BITS | lower], dtype=np.int32).view(np.float32)[0])


def _patterns(vector: Tensor) -> NDArray[np.int32]:
    bits: NDArray[np.int32] = vector.to(torch.float32).abs().reshape(-1).numpy().view(np.int32)
    return bits


def _kth_from_top(counts: NDArray[np.int64], rank: int) -> tuple[int, int]:
    """The bin that holds the element of `rank`, counted from the top from 1, and the number of elements above it."""
    reached = np.cumsum(counts[::-1])
    place = int(np.searchsorted(reached, rank))
    return len(counts) - 1 - place, int(reached[place] - counts[::-1][place])
