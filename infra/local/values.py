"""Between Pulumi's property values and plain JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime import rpc

UNKNOWN = rpc.UNKNOWN
"""Stands for a value that a preview cannot know yet."""


def plain(value: PropertyValue) -> Any:
    """JSON value of a property; whole numbers become `int`, secrets are opened (they stay inside the provider)."""
    inner = value.value
    if isinstance(inner, Mapping):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(item) for item in inner]
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    return inner


def plain_map(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    return {key: plain(value) for key, value in values.items()}


def prop(value: Any) -> PropertyValue:
    """Property of a JSON value. A whole number stays exact up to 2**53, Pulumi's number being a double."""
    if isinstance(value, Mapping):
        return PropertyValue({key: prop(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return PropertyValue([prop(item) for item in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)


def prop_map(values: Mapping[str, Any], secret: frozenset[str] = frozenset()) -> dict[str, PropertyValue]:
    return {key: prop(value).with_secret(key in secret) for key, value in values.items()}


def has_unknown(value: Any) -> bool:
    """Whether a plain value holds an unknown at any depth, also inside a rendered text."""
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_unknown(item) for item in value)
    return isinstance(value, str) and UNKNOWN in value
