"""Between Pulumi's values and those of AWS's interfaces, by the shapes that botocore has of them. Pure."""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any

from workloads.spec.errors import UserError

Names = Mapping[str, str]
"""What an interface calls an input, by the input's name or its path with dots, where it is not the same word."""


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_WORDS: Mapping[str, Callable[[Any], Any]] = {
    "boolean": lambda value: text(value) == "true",
    "integer": int,
    "long": int,
    "string": text,
}
"""Pulumi has some switches and numbers as words, and the other way about."""


def to_api(shape: Any, value: Any, names: Names, path: str = "") -> Any:
    """A value as an operation takes it. Names are found in whatever case; a map becomes a list of keys and values.

    Raises:
        UserError: something in it has no place in the operation.
    """
    match shape.type_name:
        case "structure":
            return _structure(shape, value, names, path)
        case "list":
            return _list(shape, value, names, path)
        case "map":
            return {key: to_api(shape.value, item, names, path) for key, item in value.items()}
        case kind:
            return _WORDS.get(kind, lambda same: same)(value)


def _structure(shape: Any, value: Any, names: Names, path: str) -> dict[str, Any]:
    if isinstance(value, list):  # Pulumi has a list where there can be one alone
        (value,) = value
    members = {member.lower(): member for member in shape.members}
    made = {}
    for key, item in value.items():
        wanted = names.get(f"{path}{key}", names.get(key, key))
        member = members.get(wanted.lower())
        if member is None:
            raise UserError(f"input {path}{key} has no place in {shape.name}; teach the stand-in where it goes")
        made[member] = to_api(shape.members[member], item, names, f"{path}{key}.")
    return made


def _list(shape: Any, value: Any, names: Names, path: str) -> list[Any]:
    inner = shape.member
    if isinstance(value, dict) and inner.type_name == "structure" and (pair := _pair(inner)):
        key_name, value_name = pair
        return [{key_name: key, value_name: str(item)} for key, item in sorted(value.items())]
    items = value if isinstance(value, list) else [value]
    return [to_api(inner, item, names, path) for item in items]


def _pair(shape: Any) -> tuple[str, str] | None:
    """Members of a key and its value: `Key` and `Value`, `key` and `value`, `TagKey` and `TagValue`."""
    members = {member.lower(): member for member in shape.members}
    for key, value in (("key", "value"), ("tagkey", "tagvalue")):
        if members.keys() == {key, value}:
            return members[key], members[value]
    return None


def from_api(value: Any) -> Any:
    """An answer in JSON's terms, under its own names."""
    if isinstance(value, dict):
        return {key: from_api(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [from_api(item) for item in value]
    return value.isoformat() if isinstance(value, dt.datetime) else value


def camel(value: Any) -> Any:
    """The same with names as Pulumi has them, at every depth."""
    if isinstance(value, dict):
        return {f"{key[:1].lower()}{key[1:]}": camel(item) for key, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def tag_map(tags: Any) -> dict[str, str]:
    """Tags as a map, from a map or from any list of keys and values; without those that AWS itself gives."""
    if isinstance(tags, list):
        pairs = [{key.lower().removeprefix("tag"): item for key, item in tag.items()} for tag in tags]
        tags = {pair["key"]: pair.get("value", "") for pair in pairs}
    return {key: value for key, value in (tags or {}).items() if not key.startswith("aws:")}


def agrees(given: Any, found: Any) -> bool:
    """Whether what an interface tells is what was given to it, as far as it tells it.

    Lists are compared whatever their order, documents of JSON by what they say, and numbers and switches by their
    text: interfaces differ in these.
    """
    if found is None:
        return True
    if isinstance(given, dict) and isinstance(found, list):  # Pulumi has one where the interface has a list of one
        return len(found) == 1 and agrees(given, found[0])
    if isinstance(given, dict) and isinstance(found, dict):
        told = {key.lower(): item for key, item in found.items()}  # `SSEAlgorithm` is `sseAlgorithm` to Pulumi
        return all(agrees(item, told.get(key.lower())) for key, item in given.items())
    if isinstance(given, list) and isinstance(found, list):
        return len(given) == len(found) and all(any(agrees(item, other) for other in found) for item in given)
    if isinstance(given, str) and given[:1] in {"{", "["}:
        return document(given) == document(found)
    return text(given) == text(found)


def document(value: Any) -> Any:
    """What a text of JSON says; whatever is no such text is left alone."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
