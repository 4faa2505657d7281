"""Long series in few points, without hiding what lies between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Curve:
    """A series in groups of `group` neighbours. Arrays are float64 [points]."""

    group: int
    x: NDArray[np.float64]  # mean of each group
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def thin(x: ArrayLike, y: ArrayLike, limit: int) -> Curve:
    """The series `y` over `x`, each [n] with n >= 1, in at most `limit` points.

    Groups are of equal size, the last one may be smaller. Each keeps its mean, its lowest and its highest value; a
    series that is short enough is kept as it is, in groups of one.
    """
    abscissa, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    group = -(-len(values) // limit)
    starts = np.arange(0, len(values), group)
    sizes = np.diff(np.append(starts, len(values)))
    return Curve(
        group=group,
        x=np.add.reduceat(abscissa, starts) / sizes,
        mean=np.add.reduceat(values, starts) / sizes,
        low=np.minimum.reduceat(values, starts),
        high=np.maximum.reduceat(values, starts),
    )
