"""Dashboards for Grafana as values: a grid of panels, each with its queries. Pure.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Unit = Literal["short", "s", "bytes", "Bps", "percent", "percentunit", "reqps", "celsius", "watt", "none"]

_COLUMNS: Final = 24
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Query:
    """PromQL, and how its series are called."""

    expression: str
    legend: str = "{{site}}"


@dataclass(frozen=True)
class Panel:
    """A graph over time, or with `single` the newest value."""

    title: str
    queries: Sequence[Query]
    unit: Unit = "short"
    width: int = 8  # of 24 columns
    single: bool = False


@dataclass(frozen=True)
class Dashboard:
    """A page. `uid` is its address, and stays."""

    uid: str
    title: str
    panels: Sequence[Panel]
    filters: Sequence[tuple[str, str]] = ()  # variable and the metric whose label it takes its values from

    def document(self) -> dict[str, Any]:
        """The page as Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["isthmus"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [_source_choice(), *(_filter(*each) for each in self.filters)]},
            "panels": _grid(self.panels),
        }


def _grid(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        placed.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": _HEIGHT}))
        x += panel.width
    return placed


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "stat" if panel.single else "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": panel.single,
                "range": not panel.single,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _source_choice() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "hide": 2, "current": {}}


def _filter(label: str, metric: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
