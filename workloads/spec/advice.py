"""What to do about values that a person wrote and a schema refuses: each fault with value, limit and remedy."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

_SHOWN: Final = 3  # faults in full

# By pydantic's names of faults (https://docs.pydantic.dev/latest/errors/validation_errors/), filled from their contexts.
_WORDS: Final[Mapping[str, str]] = {
    "bool_parsing": "is neither true nor false; write one of them",
    "bool_type": "is neither true nor false; write one of them",
    "dict_type": "is no mapping; write keys and values below it",
    "finite_number": "is not finite; write a number",
    "float_parsing": "is no number; write one, such as 1.5",
    "float_type": "is no number; write one, such as 1.5",
    "frozen_set_type": "is no list; write one, such as [a, b]",
    "greater_than": "is not above {gt}; set more than {gt}",
    "greater_than_equal": "is below {ge}; set {ge} or more",
    "int_from_float": "is no whole number; write one, such as 3",
    "int_parsing": "is no whole number; write one, such as 3",
    "int_type": "is no whole number; write one, such as 3",
    "ip_v4_address": "is no IPv4 address; write one such as 9.9.9.9",
    "less_than": "is not below {lt}; set less than {lt}",
    "less_than_equal": "is above {le}; set {le} or less",
    "literal_error": "is not one of {expected}; pick one",
    "model_attributes_type": "is no mapping; write keys and values below it",
    "model_type": "is no mapping; write keys and values below it",
    "string_pattern_mismatch": "is not of the form {pattern}; write it so",
    "string_too_long": "is longer than {max_length} characters; shorten it",
    "string_too_short": "is shorter than {min_length} characters; write it out",
    "string_type": "is no text; write some, in quotes if it looks like a number",
    "too_long": "has {actual_length} entries, limit {max_length}; leave some out",
    "too_short": "has {actual_length} entries, at least {min_length} needed; add to it",
    "tuple_type": "is no list; write one, such as [a, b]",
    "union_tag_invalid": "has {discriminator} {tag}, which is not one of {expected_tags}; pick one",
    "union_tag_not_found": "does not say its {discriminator}; add it",
}


def advise(error: ValidationError, subject: str, model: type[BaseModel]) -> str:
    """One line: `subject: key VALUE: limit; remedy`, the first three faults in full. `model` is what was parsed."""
    # a key that is written wrong comes before the one that is missing for that
    known = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    faults = [_fault(fault, model) for fault in known]
    more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
    return " ".join(f"{subject}: {'; also '.join(faults[:_SHOWN])}{more}".split())


def _fault(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    path, kind, context = fault["loc"], fault["type"], fault.get("ctx", {})
    key = ".".join(str(part) for part in path) or "document"
    shown = _shown(path, fault["input"])
    if kind == "missing":
        return f"{key} is missing; add it"
    if kind == "extra_forbidden":
        return f"{key} {shown} is no known key; {_instead(str(path[-1]), _keys(model, path[:-1]))}"
    if kind == "value_error":  # a validator of the schema's own, which says limit and remedy
        said = str(context["error"])
        is_said = (
            isinstance(fault["input"], Mapping) or said.startswith(str(fault["input"])) or f"'{fault['input']}'" in said
        )
        return f"{key}: {said}" if is_said else f"{key} {shown}: {said}"
    words = _WORDS.get(kind)
    limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    return f"{key} {shown} {words.format(**limits)}" if words else f"{key}: {fault['msg']}, got {shown}"


def _shown(path: Sequence[int | str], value: object) -> str:
    """A value as far as one line holds it; a password never."""
    return "(hidden)" if path and "password" in str(path[-1]) else f"{value!r:.80}"


def _instead(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.75)
    if near:
        return f"did you mean {near[0]}?"
    return f"remove it, or use one of {', '.join(known)}" if known else "remove it"


def _keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Keys that are known where `path` leads, none if that depends on the values."""
    current = model
    for part in path:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        models = list(_models(field.annotation)) if field else []
        if len(models) != 1:
            return []
        (current,) = models
    return list(current.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
