"""Tables and a plot, of whatever rows there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.bench.wan.judging import Bar
from tests.bench.wan.results import LossRow, Row, SpeedRow, compare

_WIDTH = 180


def show(speed: Sequence[SpeedRow], loss: Sequence[LossRow], bars: Mapping[str, Bar]) -> None:
    """Print everything."""
    console = Console(width=_WIDTH)
    for link in dict.fromkeys(row.link for row in speed):
        console.print(_speed_table(link, [row for row in speed if row.link == link]))
    if loss:
        console.print(_loss_table(loss))
    table = Table("bar", "value", "must be", "", "note", title="bars")
    for name, bar in bars.items():
        table.add_row(name, f"{bar.value:.4g}", f"{bar.bar:.4g}", "ok" if bar.ok else "[red]missed[/red]", bar.note)
    console.print(table)


def told(row: SpeedRow | LossRow) -> str:
    """A row in a few words."""
    if isinstance(row, SpeedRow):
        return f"{row.link}: {row.method}: {row.steps_per_s:.3f} steps/s over {row.measured_steps} steps"
    return f"{row.method}: loss {row.loss:.4f} after {row.steps} steps"


def draw(speed: Sequence[SpeedRow], loss: Sequence[LossRow], path: Path) -> None:
    """The same as a picture; the ending of `path` says of which kind."""
    figure = Figure(figsize=(14, 10), layout="constrained")
    rates, traffic, over_time, over_samples = figure.subplots(2, 2).flat
    colours = {method: f"C{index}" for index, method in enumerate(dict.fromkeys(row.method for row in speed))}
    _draw_bars(rates, speed, colours, [row.steps_per_s for row in speed])
    rates.set_title("steps a second")
    _draw_bars(traffic, speed, colours, [row.mb_per_step or 0.0 for row in speed])
    traffic.set_title("MB a step, in one direction")
    if any(row.mb_per_step for row in speed):
        traffic.set_yscale("log")
    for row in speed:
        _draw_curve(over_time, [(look.at_s, look.loss) for look in row.looks], row.method, colours[row.method])
    links = ", ".join(dict.fromkeys(row.link for row in speed if row.looks))
    over_time.set(title=f"validation loss over time, {links or '-'}", xlabel="s", ylabel="nats a byte")
    for index, contestant in enumerate(loss):
        label = f"{contestant.method}: {contestant.loss:.4f}"
        _draw_curve(over_samples, [(look.step, look.loss) for look in contestant.looks], label, f"C{index}")
    over_samples.set(title="validation loss over samples", xlabel="steps", ylabel="nats a byte")
    if speed:
        handles = dict(zip(*reversed(rates.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    if loss:
        over_samples.legend(fontsize="small")
    figure.savefig(path)


def _draw_bars(axes: Axes, rows: Sequence[SpeedRow], colours: Mapping[str, str], heights: Sequence[float]) -> None:
    links = list(dict.fromkeys(row.link for row in rows))
    order = list(colours)
    width = 0.8 / max(1, len(order))
    for row, height in zip(rows, heights, strict=True):
        place = links.index(row.link) + (order.index(row.method) - len(order) / 2 + 0.5) * width
        axes.bar(place, height, width, color=colours[row.method], label=row.method)
    axes.set_xticks(range(len(links)), links)


def _draw_curve(axes: Axes, points: Sequence[tuple[float, float]], label: str, colour: str) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=label, color=colour)


def _speed_table(link: str, rows: Sequence[SpeedRow]) -> Table:
    beside = compare(rows)
    table = Table(
        "method", "setting", "steps/s", "of no link", "MB a step", f"s to loss {_text(beside[0].target_loss, '.3f')}",
        f"loss at step {beside[0].common_step or '-'}", "peak MB", "of it extra", "measured (UTC)", "load",
        title=link,
    )  # fmt: skip
    for row, comparison in zip(rows, beside, strict=True):
        table.add_row(
            row.method,
            row.setting,
            f"{row.steps_per_s:.3f}",
            _text(comparison.of_no_link, ".2f"),
            _text(row.mb_per_step, ".3f"),
            _text(comparison.time_to_loss_s, ".0f"),
            _text(comparison.loss_at_common_step, ".3f"),
            f"{row.peak_mb:.0f}",
            f"{row.extra_mb:.0f}",
            *_when(row),
        )
    return table


def _loss_table(rows: Sequence[LossRow]) -> Table:
    first = rows[0]
    table = Table(
        "method", "setting", "outer lr/momentum", "loss", f"against {first.method}", "s", "peak MB", "measured (UTC)",
        "load", title=f"validation loss after {first.steps} steps, nats a byte",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.method,
            row.setting,
            row.outer,
            f"{row.loss:.4f}",
            f"{row.loss / first.loss - 1:+.1%}",
            f"{row.seconds:.0f}",
            f"{row.peak_mb:.0f}",
            *_when(row),
        )
    return table


def _when(row: Row) -> tuple[str, str]:
    """When it was measured, and the machine's load before and after."""
    there = row.circumstances
    return f"{there.begun:%m-%d %H:%M}", f"{there.load_before:.1f}, {there.load_after:.1f}"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
