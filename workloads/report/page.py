"""The page itself: a template filled with figures and plots, which needs no script and loads nothing."""

import base64
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from workloads.report import wording
from workloads.report.planned import outer_settings, plan_outcome, round_lengths
from workloads.report.plots import Plot
from workloads.report.quality import baselines, is_higher_better, metric_rows
from workloads.report.reading import Figures
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe

_TEMPLATE = "page.html.j2"


def render(figures: Figures, plots: tuple[Plot, ...], picture_svg: str) -> str:
    """The page as HTML.

    Raises:
        UserError: `picture_svg` is not an SVG.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "deviation": wording.deviation,
        "duration": wording.duration,
        "metric_name": wording.metric_name,
        "moment": _moment,
        "ratio": wording.ratio,
        "share": wording.share,
        "size": wording.size,
        "speed": wording.speed,
    }
    metric = figures.compression.metric
    return environment.get_template(_TEMPLATE).render(
        figures=figures,
        launch=figures.launch,
        recipe=figures.launch.recipe,
        recipe_yaml=_as_yaml(figures.launch.recipe),
        run=figures.run,
        compression=figures.compression,
        registration=figures.registration,
        metric=metric,
        quality=lambda value: wording.quality(metric, value),
        baseline=next(iter(baselines(metric, figures.run.metrics)), None),
        higher_is_better=is_higher_better(metric),
        metric_rows=metric_rows(figures.run.metrics, figures.compressed.metrics),
        wording=wording,
        outcome=plan_outcome(figures),
        round_lengths=round_lengths(figures.launch.plan),
        outer_settings=outer_settings(figures.launch.plan),
        plots=plots,
        picture=_as_image(picture_svg),
    )


def _as_image(svg: str) -> str:
    """A data URL: as an image the picture keeps its style sheet to itself and cannot run anything."""
    try:
        root = ET.fromstring(svg)  # noqa: S314 - drawn by the program that launched the report
    except ET.ParseError as error:
        raise UserError(f"picture_svg: not XML, {error}; draw it again with `make up`") from None
    if root.tag != "{http://www.w3.org/2000/svg}svg":
        raise UserError(f"picture_svg: the root is {root.tag!r}, not an SVG's; draw it again with `make up`")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _as_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _moment(t: float) -> str:
    """Seconds since the epoch in UTC."""
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S} UTC"
