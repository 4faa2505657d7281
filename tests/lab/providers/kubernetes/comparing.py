"""What was declared against what the server has. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.lab.providers.kubernetes.objects import DEFAULT_NAMESPACE, Object, metadata, substance
from tests.lab.providers.kubernetes.paths import Path, differences, get, owns, put, without

MANAGER: Final = "pulumi-lab"
"""Under this name the server keeps account of the fields that the stand-in has set."""

_GONE: Final = object()


def settled(inputs: Object) -> Object:
    """Inputs in which what goes without saying is said, to compare them."""
    said = metadata(inputs)
    if said.get("namespace") != DEFAULT_NAMESPACE:
        return inputs
    return {**inputs, "metadata": {key: value for key, value in said.items() if key != "namespace"}}


def changes(live: Object, tried: Object, ignored: Sequence[Path]) -> bool:
    """Whether the server would have another object afterwards, in anything but its own account of it."""
    return bool(differences(without(substance(live), ignored), without(substance(tried), ignored)))


def found(declared: Any, live: Any, tried: Any) -> Any:
    """What was declared, as it is on the server now.

    `tried` is what the server would make of the declaration. Where that is what it has, the declaration stays as it was
    written (`0.5` where the server says `500m`); elsewhere stands what the server has. What nobody declared is not told.
    """
    if isinstance(declared, Mapping):
        return _found_map(declared, live, tried)
    if isinstance(declared, list) and isinstance(live, list):
        return _found_list(declared, live, tried)
    return declared if live == tried else live


def _found_map(declared: Mapping[str, Any], live: Any, tried: Any) -> Any:
    if not isinstance(live, Mapping):
        return declared if live == tried else live
    would = tried if isinstance(tried, Mapping) else {}
    told = {
        key: declared[key]
        if key not in live and key not in would  # written, never to be read again
        else found(declared[key], live.get(key, _GONE), would.get(key, _GONE))
        for key in declared
    }
    return {key: value for key, value in told.items() if value is not _GONE}


def _found_list(declared: list[Any], live: list[Any], tried: Any) -> Any:
    if live == tried:
        return declared
    would = tried if isinstance(tried, list) else []
    ours, theirs, others = _by_name(declared), _by_name(live), _by_name(would)
    if ours is not None and theirs is not None and others is not None:
        return [found(item, theirs[name], others.get(name, _GONE)) for name, item in ours.items() if name in theirs]
    if len(declared) == len(live) == len(would):
        return [found(*three) for three in zip(declared, live, would, strict=True)]
    return live


def _by_name(items: list[Any]) -> dict[str, Any] | None:
    """A list of named things, as most of the API's are: by name, for others may have put theirs between them."""
    if not all(isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in items):
        return None
    named = {item["name"]: item for item in items}
    return named if len(named) == len(items) else None


def left_to_others(body: Object, live: Object | None, ignored: Sequence[Path]) -> Object:
    """What is sent, where the program leaves fields to another writer.

    A field that another one has by now is not sent at all, so that it stays theirs; one that is still ours, or nobody's,
    is sent as the server has it, since a manager who leaves out its own field takes it away.
    """
    if live is None:
        return body
    for path in ignored:
        if _is_others(live, path):
            body = without(body, [path])
        elif (now := get(live, path)) is not None:
            body = put(body, path, now)
    return body


def _is_others(live: Object, path: Path) -> bool:
    holders = {
        entry["manager"] for entry in live["metadata"].get("managedFields", []) if owns(entry.get("fieldsV1", {}), path)
    }
    return bool(holders) and MANAGER not in holders
