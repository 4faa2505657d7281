"""Recipes of the drills: small enough for two cores, long enough for a bad day in the middle."""

import json
from collections.abc import Mapping
from typing import Any, Final

_SMALL: Final[Mapping[str, Any]] = {
    "model.config.hidden_size": 128,
    "model.config.intermediate_size": 344,
    "model.config.num_hidden_layers": 2,
    "data.max_bytes_per_site": 400_000,
    "data.context": 128,
    "train.inner.steps": 10,  # a merge every second or two
    "train.inner.batch": 4,
    "train.checkpoint.every_rounds": 10,  # a round takes less than a state takes to Swift
    "train.outer.overlap_steps": 0,
    "compress.prune_ratios": [0.0],
    "compress.gate.bound": 8.0,  # what is trained for minutes says little; how it got there is the point
}
LONG_STEPS: Final = 900
SHORT_STEPS: Final = 100


def language(steps: int, seed: int = 7) -> tuple[str, str]:
    """Settings of a stack that trains the small language model. Another seed is another run. Pure."""
    overrides = {**_SMALL, "train.steps_per_epoch": steps, "train.seed": seed}
    return ("training.recipe=language", f"training.overrides={json.dumps(overrides)}")
