"""Domain types of stack values: each parses what a person writes and refuses the rest with the limit and the remedy."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

_UNITS_MBPS = {"kbit/s": 1e-3, "mbit/s": 1.0, "gbit/s": 1e3}


def parse_bandwidth_mbps(value: object) -> float:
    """Mbit/s from `100 Mbit/s`, `1.25 Gbit/s` or `800 kbit/s`. Raises `ValueError` when the unit is missing or unknown."""
    if isinstance(value, float):  # already parsed: a frozen value that is validated again
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+/s)\s*", str(value))
    if not match or match[2].lower() not in _UNITS_MBPS:
        raise ValueError("bandwidth is a number with a unit, such as 100 Mbit/s, 1.25 Gbit/s or 800 kbit/s")
    return float(match[1]) * _UNITS_MBPS[match[2].lower()]


def _usable_bandwidth(mbps: float) -> float:
    if not 0.1 <= mbps <= 100_000:
        raise ValueError(f"{mbps:g} Mbit/s is outside 0.1 Mbit/s to 100 Gbit/s; a link with no rate carries no round")
    return mbps


Bandwidth = Annotated[
    float,
    BeforeValidator(parse_bandwidth_mbps),
    AfterValidator(_usable_bandwidth),
    WithJsonSchema({"type": "string", "examples": ["100 Mbit/s"]}),
]
"""Mbit/s."""

RoundTripMs = Annotated[float, Field(ge=0, le=2000)]
BasePort = Annotated[int, Field(ge=1024, le=65535 - 400)]
Workers = Annotated[int, Field(ge=1, le=64)]
