"""Fields of plain values by path: Pulumi's way of writing them and the API server's. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Path = tuple[str | int, ...]

_STEP: Final = re.compile(r'\.?([^.\[\]"]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|\[(\*)\]')
_KEY: Final = re.compile(r'(\w*)=("(?:[^"\\]|\\.)*"|[^,\]]+)')


def parse(text: str) -> Path:
    """A property path as Pulumi's options take it: `spec.template`, `metadata.annotations["a.b/c"]`, `items[0]`.

    Raises `ValueError` for what is none.
    """
    found: list[str | int] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise ValueError(f"{text!r} is no property path")
        bare, index, quoted, every = step.groups()
        found.append(int(index) if index else json.loads(f'"{quoted}"') if quoted is not None else every or bare)
        at = step.end()
    return tuple(found)


def within(path: Path, other: Path) -> bool:
    """Whether one of them holds the other."""
    return all(a in (b, "*") or b == "*" for a, b in zip(path, other, strict=False))


def without(value: Any, paths: Iterable[Path]) -> Any:
    """The value less what is at the paths. Places of a list keep their number: what was there is None."""
    for path in paths:
        value = _less(value, path)
    return value


def _less(value: Any, path: Path) -> Any:
    step, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        hit = [key for key in value if step in (key, "*")]
        if not rest:
            return {key: item for key, item in value.items() if key not in hit}
        return {key: _less(item, rest) if key in hit else item for key, item in value.items()}
    if isinstance(value, list):
        return [
            item if step not in (number, "*") else _less(item, rest) if rest else None
            for number, item in enumerate(value)
        ]
    return value


def get(value: Any, path: Path) -> Any:
    """What is at a path; None where nothing is."""
    for step in path:
        holds = step in value if isinstance(value, Mapping) else isinstance(value, list) and step in range(len(value))
        if not holds:
            return None
        value = value[step]
    return value


def put(value: Any, path: Path, item: Any) -> Any:
    """The value with `item` at a path of names; what a path leads through has to be there."""
    if not path:
        return item
    if not isinstance(value, Mapping):
        return value
    return {**value, path[0]: put(value.get(path[0], {}), path[1:], item)}


def differences(old: Any, new: Any, at: Path = ()) -> list[Path]:
    """Paths at which two values differ, as deep as they can be told."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            path
            for key in sorted({*old, *new})
            for path in (differences(old[key], new[key], (*at, key)) if key in old and key in new else [(*at, key)])
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            path for number, pair in enumerate(zip(old, new, strict=True)) for path in differences(*pair, (*at, number))
        ]
    return [] if old == new and isinstance(old, bool) == isinstance(new, bool) else [at]


def declares(value: Any, field: str) -> bool:
    """Whether a value has a field that the server names in its own way: `.spec.containers[name="a"].image`.

    Names may hold dots, so every way of reading it counts.
    """
    if not field:
        return True
    if field.startswith(".") and isinstance(value, Mapping):
        rest = field[1:]
        return any(
            declares(item, rest[len(key) :])
            for key, item in value.items()
            if rest.startswith(key) and rest[len(key) :][:1] in ("", ".", "[")
        )
    if field.startswith("[") and isinstance(value, list):
        inside, _, rest = field[1:].partition("]")
        keys = [(name, json.loads(text)) for name, text in _KEY.findall(inside)]
        return any(
            declares(item, rest)
            for item in value
            if all((item.get(name) if name and isinstance(item, Mapping) else item) == wanted for name, wanted in keys)
        )
    return False


def owns(fields: Mapping[str, Any], path: Path) -> bool:
    """Whether a manager's `fieldsV1` holds a path, or something below it. A place of a list is in nobody's account."""
    here: Any = fields
    for step in path:
        here = here.get(f"f:{step}") if isinstance(here, Mapping) else None
        if here is None:
            return False
    return True
