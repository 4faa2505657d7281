"""The report's plots, each an inline SVG with the sentence that says how to read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workloads.report.canvas import INK, inline_svg, site_colour, site_style, style
from workloads.report.curves import Curve, thin
from workloads.report.reading import Figures, SiteTrace
from workloads.report.wording import metric_name, share

_WIDTH, _HEIGHT = 4.5, 2.8  # inches; the page scales them
_LINE_POINTS, _BARS = 300, 100
_MARKED = 30  # a line of so few points shows each
_LONG_S = 600.0  # a longer run has its time in minutes

Axes = Any  # matplotlib ships no types


@dataclass(frozen=True)
class Plot:
    """A drawn plot. `svg` is safe to be put into HTML as it is."""

    title: str
    caption: str
    svg: Markup


def draw_plots(figures: Figures) -> tuple[Plot, ...]:
    """All plots of the page, in its order."""
    return tuple(draw(figures) for draw in (_draw_loss, _draw_validation, _draw_rounds, _draw_link))


def _draw_loss(figures: Figures) -> Plot:
    def curve(trace: SiteTrace) -> Curve:
        return thin([step.step for step in trace.steps], [step.loss for step in trace.steps], _LINE_POINTS)

    curves = [curve(trace) for trace in figures.traces]
    with style("loss"):
        figure, axes = _canvas("step of the site", "training loss")
        for index, (trace, line) in enumerate(zip(figures.traces, curves, strict=True)):
            _draw_line(axes, line, f"loss-{trace.site}", trace.site, index)
        axes.set_ylim(bottom=0.0)
        _legend(axes)
        caption = _grouping(curves, "step")
        if any(len(trace.steps) < trace.steps[-1].step for trace in figures.traces):
            caption += " Of the steps that a site made alone while the link was away, only some were logged."
        return _plot(figure, "loss", "Training loss by site", caption)


def _draw_validation(figures: Figures) -> Plot:
    gate = figures.launch.recipe.compress.gate
    metric = gate.metric

    def curve(trace: SiteTrace) -> Curve:
        judged = [event for event in trace.rounds if metric in event.metrics]
        return thin([event.round for event in judged], [event.metrics[metric] for event in judged], _LINE_POINTS)

    curves = [curve(trace) for trace in figures.traces]
    with style("validation"):
        figure, axes = _canvas("round", metric_name(metric))
        for index, (trace, line) in enumerate(zip(figures.traces, curves, strict=True)):
            _draw_line(axes, line, f"validation-{trace.site}", trace.site, index)
        _draw_reference(axes, gate.bound, "gate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if metric == "accuracy":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}%"))
        _legend(axes)
        caption = (
            "Measured by each site after each merge, on the part of its own data that the round did not train on. "
            f"The gate is what the compressed model must reach. {_grouping(curves, 'round')}"
        )
        return _plot(figure, "validation", f"Validation {metric_name(metric)} by round", caption)


def _draw_rounds(figures: Figures) -> Plot:
    with style("rounds"):
        figure = Figure(figsize=(_WIDTH, max(_HEIGHT, 1.1 * len(figures.traces))))
        rows: list[Axes] = list(figure.subplots(len(figures.traces), sharex=True, sharey=True, squeeze=False)[:, 0])
        group = 1
        for index, (axes, trace) in enumerate(zip(rows, figures.traces, strict=True)):
            numbers = [event.round for event in trace.rounds]
            whole = thin(numbers, [event.seconds for event in trace.rounds], _BARS)
            waiting = thin(numbers, [event.wait_s for event in trace.rounds], _BARS)
            group, colour = whole.group, site_colour(index)
            axes.bar(whole.x, whole.mean, width=0.9 * group, color=colour, alpha=0.4, label="whole round")
            axes.bar(waiting.x, waiting.mean, width=0.9 * group, color=colour, label="waiting on the link")
            axes.set_gid(f"rounds-{trace.site}")
            axes.set_title(trace.site, loc="left", fontsize=8.5, fontweight="bold")
            axes.grid(visible=False, axis="x")
            axes.set_ylabel("seconds")
            axes.yaxis.set_major_locator(MaxNLocator(4))
            _legend(axes, right=True)
        rows[-1].set_xlabel("round")
        rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        caption = "The light bar is the whole round, the full one the part of it spent waiting for the other sites. "
        caption += _grouped(group, "bar", "round")
        return _plot(figure, "rounds", "Time of each round", caption)


def _draw_link(figures: Figures) -> Plot:
    started = figures.started
    lasted_s = max(trace.rounds[-1].t for trace in figures.traces) - started
    unit, seconds = ("minutes", 60.0) if lasted_s > _LONG_S else ("seconds", 1.0)

    def curve(trace: SiteTrace) -> Curve:
        times = [(event.t - started) / seconds for event in trace.rounds]
        return thin(times, [figures.link_use(event) for event in trace.rounds], _LINE_POINTS)

    curves = [curve(trace) for trace in figures.traces]
    with style("link"):
        figure, axes = _canvas(f"{unit} since the start", "share of the link's rate")
        for index, (trace, line) in enumerate(zip(figures.traces, curves, strict=True)):
            _draw_line(axes, line, f"link-{trace.site}", trace.site, index)
        _draw_reference(axes, figures.ddp_link_share, "plain DDP at this pace")
        _draw_reference(axes, 1.0, "the link's rate")
        axes.set_yscale("log")
        axes.set_ylim(top=3 * max(1.0, figures.ddp_link_share))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
        _legend(axes)
        caption = (
            f"Payload sent in each round against the {figures.launch.link.rate_mbps:g} Mbit/s measured in one direction, "
            "on a logarithmic scale, and what plain DDP would have needed to train as fast as this run did. "
            f"{_grouping(curves, 'round')}"
        )
        return _plot(figure, "link", "Use of the link", caption)


def _canvas(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _draw_line(axes: Axes, curve: Curve, gid: str, label: str, index: int) -> None:
    look = site_style(index)
    marker = "o" if len(curve.x) <= _MARKED else None
    (line,) = axes.plot(curve.x, curve.mean, label=label, marker=marker, markersize=3, **look)
    line.set_gid(gid)
    if curve.group > 1:
        axes.fill_between(curve.x, curve.low, curve.high, color=look["color"], alpha=0.15, linewidth=0)


def _draw_reference(axes: Axes, y: float, label: str) -> None:
    axes.axhline(y, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    axes.annotate(label, (1, y), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right")


def _legend(axes: Axes, *, right: bool = False) -> None:
    side, x = ("right", 1.0) if right else ("left", 0.0)
    axes.legend(loc=f"lower {side}", bbox_to_anchor=(x, 1.0), ncols=4, borderaxespad=0)


def _grouping(curves: Sequence[Curve], unit: str) -> str:
    group = max(curve.group for curve in curves)
    band = " The band spans the lowest and the highest." if group > 1 else ""
    return f"{_grouped(group, 'point', unit)}{band}"


def _grouped(group: int, mark: str, unit: str) -> str:
    return f"Each {mark} is one {unit}." if group == 1 else f"Each {mark} is the mean of up to {group} {unit}s."


def _plot(figure: Figure, name: str, title: str, caption: str) -> Plot:
    return Plot(title, caption, inline_svg(figure, f"{name}-", title))
