"""The report of a run: `report.md` with its tables and, where there is something to draw, `report.png`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Values = Mapping[str, Any]

_AIMS_S = {"cold": 40 * 60, "warm": 10 * 60}
_TITLES = {
    "up_s": "`pulumi up`, first",
    "refresh_s": "`pulumi refresh`",
    "destroy_s": "`pulumi destroy`",
    "memory_mb": "memory of the machine in use, at most",
    "memory_of_the_machine_before_mb": "of that before the drills, lab included",
    "disk_mb": "disk below `.state/lab`",
}


def write(values: Values, folder: Path) -> None:
    """`report.md`, and `report.png` if there is anything to draw."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "report.png"
    drawn = draw(values, picture)
    (folder / "report.md").write_text(render(values, picture.name if drawn else None), encoding="utf-8")


def render(values: Values, picture: str | None = None) -> str:
    """Markdown. Pure."""
    parts = [
        ["# The lab's report", "", _headline(values), ""],
        _section("Coming up", _ups(values.get("ups", []))),
        _section("Drills", _drills(values.get("drills", []))),
        _section("Figures", _figures(values)),
        _section("Training in pods, over the link and without", _speed(values.get("speed", []))),
        _section("The link cut in mid-training", _facts(values.get("outage"))),
        _section("A node lost in mid-training", _facts(values.get("node_loss"))),
        _section("Recreated from the stores", _recreations(values.get("recreations", []))),
        [f"![Times by stage]({picture})", ""] if picture else [],
    ]
    return "\n".join(line for part in parts for line in part)


def _headline(values: Values) -> str:
    drills = values.get("drills", [])
    failed = [drill["name"] for drill in drills if drill["outcome"] == "failed"]
    machine = values.get("machine", {})
    where = f"{machine.get('cores')} cores, {machine.get('memory_gib')} GiB, Linux {machine.get('kernel')}"
    word = f"failed at {failed[0]}" if failed else f"{len(drills)} drills passed" if drills else "no drill has run"
    spent = sum(drill["seconds"] for drill in drills)
    return f"{values.get('began', 'not begun')}: {word}, {minutes(spent)} in all, on {where}."


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = list(lines)
    return [f"## {title}", "", *body, ""] if body else []


def _ups(ups: Sequence[Values]) -> Iterator[str]:
    """The newest of each kind: a cold one builds everything."""
    newest = {up["kind"]: up for up in ups}
    if not newest:
        return
    names = list(dict.fromkeys(name for up in newest.values() for name in up["stages"]))
    yield from _table(["", *newest])
    for name in names:
        yield _row([name, *(_seconds(up["stages"].get(name)) for up in newest.values())])
    yield _row(["**whole lab**", *(f"**{minutes(up['total_s'])}**" for up in newest.values())])
    yield _row(["aim", *(minutes(_AIMS_S[kind]) for kind in newest)])
    for key, title in (("memory_mb", "memory of the machine in use, MB"), ("disk_mb", "disk, MB")):
        yield _row([title, *(f"{up.get(key, 0):,.0f}" for up in newest.values())])
    yield ""
    yield "Stages stand side by side where they can, so the whole is less than their sum."


def _drills(drills: Sequence[Values]) -> Iterator[str]:
    if drills:
        yield from _table(["drill", "outcome", "seconds"])
    for drill in drills:
        yield _row([drill["name"], drill["outcome"], f"{drill['seconds']:.0f}"])
    for drill in drills:
        if drill.get("why"):
            yield f"\n{drill['name']}: `{drill['why']}`"


def _figures(values: Values) -> Iterator[str]:
    figures = values.get("figures", {})
    if not figures:
        return
    yield from _table(["figure", "value"])
    for name, value in figures.items():
        amount, _, unit = name.rpartition("_")
        shown = (
            f"{value:,.0f} {unit.upper() if unit == 'mb' else unit}" if isinstance(value, int | float) else str(value)
        )
        yield _row([_TITLES.get(name, amount.replace("_", " ")), shown])
    if made := values.get("resources"):
        yield _row(["resources by provider", ", ".join(f"{name} {count}" for name, count in sorted(made.items()))])
    if iris := values.get("iris"):
        yield _row(["iris", ", ".join(f"{name} {_short(value)}" for name, value in iris.items())])


def _speed(rows: Sequence[Values]) -> Iterator[str]:
    if not rows:
        return
    yield from _table(["", "rounds", "samples", "seconds", "samples a second", "waiting, s", "bytes on the wire"])
    for row in rows:
        waiting = ", ".join(f"{site} {seconds:.1f}" for site, seconds in row["wait_s"].items())
        done = [str(row["rounds"]), f"{row['samples']:,}", f"{row['wall_s']:.1f}", f"{row['samples_per_s']:.1f}"]
        yield _row([row["name"], *done, waiting, f"{row['wire_bytes']:,}"])


def _facts(facts: Values | None) -> Iterator[str]:
    for name, value in (facts or {}).items():
        yield f"- {name.replace('_', ' ')}: {_short(value)}"


def _recreations(found: Sequence[Values]) -> Iterator[str]:
    if not found:
        return
    names = list(dict.fromkeys(stage for each in found for stage in each["stages"]))
    yield from _table(["stage, seconds", *(str(each["number"]) for each in found)])
    for name in names:
        yield _row([name, *(_seconds(each["stages"].get(name)) for each in found)])
    yield _row(["**in all**", *(f"**{each['total_s']:.0f}**" for each in found)])
    lost = [each["lost"] for each in found]
    yield _row(["training went back, rounds", *map(_went_back, lost)])
    yield _row(["samples of training lost", *(f"{each['samples']:,}" for each in lost)])
    yield _row(["model served", *(each["content"][:12] for each in found)])


def _went_back(lost: Values) -> str:
    return f"{lost['round_before']} to {lost['resumed_after_round']}, a checkpoint each {lost['interval_rounds']}"


def draw(values: Values, path: Path) -> bool:
    """Bars of the stages of coming up and of each recreation; whether there was anything to draw."""
    bars = {f"lab up, {up['kind']}": up["stages"] for up in values.get("ups", [])}
    bars |= {f"recreation {each['number']}": each["stages"] for each in values.get("recreations", [])}
    if not bars:
        return False
    import matplotlib as mpl  # noqa: PLC0415 - a second, for a picture alone

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 0.6 * len(bars) + 1.5), layout="constrained")
    names = list(dict.fromkeys(name for stages in bars.values() for name in stages))
    colours = dict(zip(names, plt.get_cmap("tab20").colors, strict=False))
    for row, stages in enumerate(bars.values()):
        left = 0.0
        for name, seconds in stages.items():
            axes.barh(row, seconds, left=left, color=colours.get(name, "grey"), label=name)
            left += seconds
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlabel("seconds of work, by stage")
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    axes.legend(
        by_label.values(), by_label, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small", frameon=False
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def minutes(seconds: float) -> str:
    """Such as `45 s` and `12 min 30 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
