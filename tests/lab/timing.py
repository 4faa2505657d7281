"""How long the engine was at work on each component, from its log of events. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.operations.previews import preview_of

_WORK = {"create", "update", "delete", "replace", "create-replacement", "delete-replaced"}

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """From the first step on a component's resources to the end of the last, seconds since the epoch."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def with_(self, moment: float) -> "Span":
        return Span(min(self.begin, moment), max(self.end, moment))


def spans(lines: Iterable[str]) -> dict[str, Span]:
    """By component, in the order in which they began. Components overlap: the engine works on many things at once."""
    events = [json.loads(line) for line in lines if line.startswith("{")]
    preview = preview_of(events)
    components = {step.urn: preview.component(step) for step in preview.steps}
    found: dict[str, Span] = {}
    for event in events:
        told = event.get("resourcePreEvent") or event.get("resOutputsEvent")
        if told is None or told["metadata"]["op"] not in _WORK or "isthmus:platform:" in told["metadata"]["type"]:
            continue
        component, moment = components.get(told["metadata"]["urn"], "platform"), float(event["timestamp"])
        found[component] = found[component].with_(moment) if component in found else Span(moment, moment)
    return dict(sorted(found.items(), key=lambda item: item[1].begin))
