"""A model as the planner sees it: equal layers between two ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workloads.planning.layers import Cost


@dataclass(frozen=True)
class Architecture:
    """A model on its recipe's samples."""

    layer: Cost  # one of `layers`
    layers: int
    ends: Cost  # what comes before the layers and after them, with the loss
    rows: float  # positions of a sample between the layers
    width: int  # values at each of them
    splits: int = 1  # degrees of tensor parallelism divide it; 1: no way is known to divide a layer
    stages: int = 1  # degrees of pipelines divide it; 1: no way is known to cut the model

    @property
    def whole(self) -> Cost:
        """The sum of all parts."""
        return self.ends + self.layer * self.layers


@dataclass(frozen=True)
class Sample:
    """What a kind of model needs to know of a sample and of the answer."""

    length: int  # tokens, pixels a side, or values of sound
    classes: int | None  # None: the next token


Reader = Callable[["Config", Sample], Architecture]


class Config:
    """A configuration of `transformers`, where a key that is not given has the default of its class."""

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._values = {**defaults, **values}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def get(self, key: str) -> Any:
        """The value, None where there is none."""
        return self._values.get(key)

    def renamed(self, names: Mapping[str, str]) -> "Config":
        """The same values under other names, those that have one in `names`."""
        return Config({names.get(key, key): value for key, value in self._values.items()}, {})
