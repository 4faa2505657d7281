"""What a rule is, and what it sees of a resource."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Config = Mapping[str, Any]
"""A rule's own settings: the stack's, over the rule's defaults."""


class Unknown:
    """A value that an output decides. It is there, but a preview cannot say what it is; the update is checked again."""

    def __repr__(self) -> str:
        return "not known before the update"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that the engine keeps encrypted. Only `secret-inputs` is shown the difference."""

    value: Any


@dataclass(frozen=True)
class Resource:
    """A resource as it is declared, or, to a rule over the whole stack, as it came out."""

    type: str
    name: str
    props: Mapping[str, Any] = field(default_factory=dict)
    urn: str = ""
    protect: bool = False
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)  # property to the URNs its value comes from


@dataclass(frozen=True)
class Finding:
    """A violation that a rule over the whole stack found, at a resource if it is one's own."""

    message: str
    urn: str | None = None


@dataclass(frozen=True)
class Rule:
    """A rule for one resource at a time: the engine asks before it makes or changes it."""

    name: str
    says: str  # one sentence, as the docs have it
    check: Callable[[Resource, Config], list[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)  # JSON schemas with defaults
    sees_secrets: bool = False
    scope: Literal["resource"] = "resource"


@dataclass(frozen=True)
class StackRule:
    """A rule about resources together: the engine asks at the end of a preview, and again after an update."""

    name: str
    says: str
    check: Callable[[Sequence[Resource], Config], list[Finding]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    scope: Literal["stack"] = "stack"


def defaults(rule: Rule | StackRule) -> dict[str, Any]:
    """A rule's settings where nobody chose any."""
    return {name: schema["default"] for name, schema in rule.settings.items() if "default" in schema}


def known(value: Any) -> bool:
    """Whether a value is there and can be looked at."""
    return value is not None and not isinstance(value, Unknown)


def maybe(value: Any, wanted: Any) -> bool:
    """Whether a value is, or may yet turn out to be, `wanted`."""
    return isinstance(value, Unknown) or bool(value == wanted)


def items(value: Any) -> list[Any]:
    """The elements of a list, none where it is absent or not known yet."""
    return list(value) if isinstance(value, list | tuple) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, empty where it is absent or not known yet."""
    return value if isinstance(value, Mapping) else {}


def of_type(resources: Sequence[Resource], *types: str) -> list[Resource]:
    """The resources of some types."""
    return [resource for resource in resources if resource.type in types]


def belonging(resources: Sequence[Resource], owner: Resource, property_: str, *types: str) -> list[Resource]:
    """Resources of some types whose `property_` comes from `owner`: by the engine's record, else by its id or name."""
    names = {owner.props[key] for key in ("id", "bucket", "name") if isinstance(owner.props.get(key), str)}
    return [
        resource
        for resource in of_type(resources, *types)
        if owner.urn in resource.needs.get(property_, ()) or resource.props.get(property_) in names
    ]
