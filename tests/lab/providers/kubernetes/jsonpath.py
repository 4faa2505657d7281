"""What `pulumi.com/waitFor` asks: conditions, and as much of kubectl's JSONPath as names a field. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from workloads.spec.errors import UserError

_STEP: Final = re.compile(
    r"""\.(?P<name>[\w-]+) | \[(?P<index>-?\d+)\] | \[(?P<every>\*)\] | \[(['"])(?P<quoted>[^'"]+)\4\]
    | \[\?\(@\.(?P<key>[\w.]+)\s*==\s*(['"])(?P<value>[^'"]*)\7\)\]""",
    re.VERBOSE,
)
_LIMIT_OF_STATUS: Final = "True"


@dataclass(frozen=True)
class Expression:
    """One thing to wait for. Without `wanted`, that there is something is enough."""

    text: str
    steps: tuple[re.Match[str], ...]
    wanted: str | None = None

    def holds(self, live: Mapping[str, Any]) -> bool:
        hits = [hit for hit in _walk(live, self.steps) if hit is not None]
        return any(self.wanted is None or _text(hit) == self.wanted for hit in hits)


def expressions(annotation: str) -> list[Expression]:
    """What an annotation asks for: one expression, or a JSON list of them.

    Raises `UserError` for anything that is neither `jsonpath={.a.b}=c` nor `condition=Type=Status`.
    """
    texts = json.loads(annotation) if annotation.lstrip().startswith("[") else [annotation]
    return [_expression(text) for text in texts]


def _expression(text: str) -> Expression:
    how, _, rest = text.partition("=")
    if how == "condition" and rest:
        kind, _, status = rest.partition("=")
        path = f'{{.status.conditions[?(@.type=="{kind}")].status}}'
        return Expression(text, _steps(path, text), status or _LIMIT_OF_STATUS)
    if how == "jsonpath" and rest:
        path, end, wanted = rest.partition("}")
        return Expression(text, _steps(path + end, text), wanted.removeprefix("=") if wanted else None)
    raise UserError(
        f"pulumi.com/waitFor {text!r}: neither jsonpath={{.a.b}}=c nor condition=Type=Status; write one of them"
    )


def _steps(path: str, text: str) -> tuple[re.Match[str], ...]:
    inside = path.removeprefix("{").removesuffix("}")
    found: list[re.Match[str]] = []
    at = 0
    while at < len(inside):
        step = _STEP.match(inside, at)
        if step is None:
            raise UserError(
                f"pulumi.com/waitFor {text!r}: {inside[at:]!r} is none of .name, [0], [*], ['a'], [?(@.a=='b')]"
            )
        found.append(step)
        at = step.end()
    return tuple(found)


def _walk(value: Any, steps: tuple[re.Match[str], ...]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for item in _children(value, steps[0]):
        yield from _walk(item, steps[1:])


def _children(value: Any, step: re.Match[str]) -> list[Any]:
    part = step.groupdict()
    name = part["name"] or part["quoted"]
    if name and isinstance(value, Mapping):
        return [value[name]] if name in value else []
    if not isinstance(value, list):
        return list(value.values()) if part["every"] and isinstance(value, Mapping) else []
    if part["index"]:
        return value[int(part["index"]) :][:1]
    if part["every"]:
        return value
    return [item for item in value if part["key"] and _text(_at(item, part["key"])) == part["value"]]


def _at(value: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
