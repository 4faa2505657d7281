"""How long a row takes, by rule of thumb: the plan says so before it is begun, and no figure depends on it. Pure."""

import math
from dataclasses import dataclass

from tests.bench.wan.jobs import Method
from tests.bench.wan.link import LinkSetting
from tests.bench.wan.menu import NO_LINK, Item

_START_S = 14.0  # libraries, model, connections, and looks at the end
_BYTES = {"fp16": 2.0, "powersgd": 0.5}  # a parameter and merge, where it is not fp32
_HEADERS = 1.1
_TRIPS = {"torchft": 100}  # round trips a merge, where every parameter is one of its own
_FEW_TRIPS = 4
_COMMON_STEPS = 4  # of post-local SGD


@dataclass(frozen=True)
class Pace:
    """Of a task on this machine."""

    step_s: float
    parameters: int


def expected_s(item: Item, pace: Pace) -> float:
    """Seconds from start to end of a row."""
    merge_s = 0.0 if item.link is None or item.stage == "loss" else _merge_s(item.method, item.link, pace)
    if item.method == NO_LINK:
        merge_s = 0.0
    step_s = pace.step_s + merge_s / item.method.period
    steps = item.steps
    if item.limit_s is not None:
        steps = min(steps, math.ceil(item.limit_s / step_s) + 1)
    common = _COMMON_STEPS if item.method.kind == "post-local" else 0
    return _START_S + steps * step_s + common * merge_s


def _merge_s(method: Method, link: LinkSetting, pace: Pace) -> float:
    """Seconds that training stands still for a merge."""
    if method.kind == "isthmus":
        return 0.0
    bits = 8 * _BYTES.get(method.kind, 4.0) * pace.parameters * _HEADERS
    return bits / (link.rate_mbps * 1e6) + _TRIPS.get(method.kind, _FEW_TRIPS) * link.rtt_ms / 1e3
