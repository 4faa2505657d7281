"""One comment for whoever reviews a change: what would be lost first, then findings, cost and the rest. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from infra.operations.markdown import MASK, code, cut, hidden, plain, shown
from infra.operations.previews import Change, Preview, Step
from infra.operations.pricing import Estimate
from infra.policy.stateful import HOLDS_STATE

LIMIT: Final = 60_000
"""Bytes. GitHub refuses a comment above 65,536 characters."""

_LEAVES: Final = 12  # changed values that are shown of a resource

_WORDS: Final[Mapping[Change, str]] = {
    "create": "create",
    "update": "update",
    "replace": "**replace**",
    "delete": "**delete**",
}
_ORDER: Final[Sequence[Change]] = ("delete", "replace", "create", "update")


def review(
    stack: str,
    preview: Preview,
    cost: Estimate | None = None,
    log: str | None = None,
    *,
    limit: int = LIMIT,
) -> str:
    """Markdown of a preview, at most `limit` bytes: what matters comes first, and what is cut is said to be.

    `cost` is the difference that the change makes to a month's bill, `log` where the engine's whole log is.
    """
    lines = [
        marker(stack),
        f"### Preview of {code(stack)}",
        "",
        _counts(preview),
        "",
        *_section("State that would be lost", _losses(preview)),
        *_section("The preview failed", [f"- {plain(error)}" for error in preview.errors]),
        *_section("Policy", _findings(preview)),
        *_section("Cost", _cost(cost)),
        *_section("Changes by component", _changes(preview)),
    ]
    where = f"[The whole log]({log})" if log else "The whole log is the engine's: `isthmus preview`"
    return cut(lines, f"{where}.", limit)


def marker(stack: str) -> str:
    """The line by which a comment is found again, to be written anew."""
    return f"<!-- isthmus preview {stack} -->"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = list(lines)
    return [f"#### {title}", "", *body, ""] if body else []


def _counts(preview: Preview) -> str:
    if not preview.finished:
        return "The engine ended before it knew what to do."
    parts = [f"{number} to {change}" for change in _ORDER if (number := preview.count(change))]
    parts.append(f"{preview.count('same')} unchanged")
    return f"{', '.join(parts)}." if len(parts) > 1 else f"No changes: {parts[0]}."


def _losses(preview: Preview) -> Iterable[str]:
    for step in sorted(_changing(preview), key=lambda step: (_ORDER.index(step.change), step.urn)):
        if step.change in {"delete", "replace"} and step.type in HOLDS_STATE:
            kept = ", protected: the engine will refuse" if step.protected else ""
            yield (
                f"- **{step.change} {code(step.name)}** ({code(step.type)}): "
                f"**{HOLDS_STATE[step.type]}**{kept}{_because(step)}"
            )


def _findings(preview: Preview) -> Iterable[str]:
    for finding in preview.findings:
        where = f" at {code(finding.urn.rpartition('::')[2])}" if finding.urn else ""
        yield f"- {finding.level} {code(finding.rule)}{where}: {plain(finding.message)}"


def _cost(cost: Estimate | None) -> Iterable[str]:
    if cost is None:
        return
    if not cost.lines and not cost.unpriced:
        yield "No difference."
        return
    yield f"**{_money(cost.low, cost.high)} USD a month**"
    yield ""
    for line in sorted(cost.lines, key=lambda line: -max(abs(line.low), abs(line.high))):
        note = f" ({plain(line.note)})" if line.note else ""
        yield f"- {plain(line.component)}, {plain(line.item)}: {_money(line.low, line.high)}{note}"
    if cost.unpriced:
        yield f"- without a price: {', '.join(map(code, cost.unpriced))}"


def _changes(preview: Preview) -> Iterable[str]:
    changed = sorted(
        _changing(preview), key=lambda step: (preview.component(step), _ORDER.index(step.change), step.urn)
    )
    for component, steps in groupby(changed, preview.component):
        yield f"- {plain(component)}"
        for step in steps:
            yield f"  - {_WORDS[step.change]} {code(step.name)} ({code(step.type)}){_because(step)}"
            yield from (f"    - {line}" for line in _property_lines(step))


def _changing(preview: Preview) -> list[Step]:
    # the components themselves hold nothing that could change
    return [step for step in preview.steps if step.change != "same" and not step.type.startswith("isthmus:platform:")]


def _because(step: Step) -> str:
    return f", because of {', '.join(map(code, step.reasons))}" if step.reasons else ""


def _property_lines(step: Step) -> Iterable[str]:
    paths = step.reasons or (step.differs if step.change == "update" else ())
    changed = [leaf for path in paths for leaf in _leaves(path, _at(step.old, path), _at(step.new, path))]
    for path, old, new in changed[:_LEAVES]:
        yield f"{code(path)}: {shown(path, old)} → {shown(path, new)}"
    if len(changed) > _LEAVES:
        yield f"and {len(changed) - _LEAVES} more"


def _leaves(path: str, old: Any, new: Any) -> Iterable[tuple[str, Any, Any]]:
    """Where two values differ, as deep as both are mappings or lists of one length; nothing marked secret is opened."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and hidden(old) != MASK != hidden(new):
        for key in sorted({**old, **new}):
            yield from _leaves(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _leaves(f"{path}[{index}]", one, other)
    else:
        yield path, old, new


def _at(inputs: Mapping[str, Any], path: str) -> Any:
    """The value at an engine's path such as `spec.replicas` or `ports[0].port`; None where there is none."""
    value: Any = inputs
    for part in path.replace("[", ".").replace("]", "").split("."):
        key = part.strip('"')
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _money(low: float, high: float) -> str:
    return f"{low:+,.0f}" if round(low) == round(high) else f"{low:+,.0f} to {high:+,.0f}"
