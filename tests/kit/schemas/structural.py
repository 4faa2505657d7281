"""From an OpenAPI schema of a Kubernetes kind to a JSON schema that refuses what an API server would refuse or drop. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

_KEPT = (
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maximum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minimum",
    "minItems",
    "minLength",
    "minProperties",
    "multipleOf",
    "pattern",
    "required",
    "uniqueItems",
)
_DURATION = r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$"  # https://pkg.go.dev/time#ParseDuration
_INT_OR_STRING: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def custom_kinds(definitions: Iterator[Mapping[str, Any]]) -> Iterator[tuple[str, Schema]]:
    """Each version of each kind that CustomResourceDefinitions define, by `GROUP/VERSION/KIND`."""
    for definition in definitions:
        spec = definition["spec"]
        for version in spec["versions"]:
            kind = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
            yield kind, object_schema(kind, structural(version["schema"]["openAPIV3Schema"]))


def object_schema(kind: str, schema: Schema) -> Schema:
    """The schema of a whole object that is applied: it says what it is, and a status is no one's to declare."""
    api_version, _, name = kind.rpartition("/")
    properties = {key: value for key, value in schema["properties"].items() if key != "status"}
    whole = {
        **schema,
        "properties": {
            **properties,
            "apiVersion": {"const": api_version},
            "kind": {"const": name},
            "metadata": {"$ref": "#/$defs/metadata"},
        },
        "required": sorted({*schema.get("required", ()), "apiVersion", "kind", "metadata"} - {"status"}),
    }
    return {key: whole[key] for key in sorted(whole)}


def structural(schema: Mapping[str, Any]) -> Schema:
    """A structural schema as JSON schema: a field that it does not name is refused, where an API server drops it.

    Of the rules in CEL those on durations are kept. https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
    custom-resource-definitions/#specifying-a-structural-schema
    """
    made = {key: schema[key] for key in _KEPT if key in schema}
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if made.get(bound) is True:  # OpenAPI 3.0 has a flag where JSON schema has the number
            made[bound] = made.pop(limit)
        elif made.get(bound) is False:
            del made[bound]
    if "pattern" in made:
        made["pattern"] = python_pattern(made["pattern"])
    for key in ("anyOf", "allOf", "oneOf"):
        if key in schema:
            made[key] = [_logical(part) for part in schema[key]]
    if "not" in schema:
        made["not"] = _logical(schema["not"])
    if any("duration(self)" in rule["rule"] for rule in schema.get("x-kubernetes-validations", ())):
        made["pattern"] = _DURATION
    if schema.get("x-kubernetes-int-or-string"):
        return {**made, **({} if "anyOf" in made else _INT_OR_STRING)}
    return {**made, **_typed(schema)}


def _typed(schema: Mapping[str, Any]) -> Schema:
    kind = schema.get("type")
    if kind is None:
        return {}
    made: Schema = {"type": [kind, "null"] if schema.get("nullable") else kind}
    if kind == "array":
        made["items"] = structural(schema["items"])
    if kind == "object":
        open_ended = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        if properties := schema.get("properties"):
            made["properties"] = {key: structural(value) for key, value in sorted(properties.items())}
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            made["additionalProperties"] = structural(more)
        elif not open_ended and more is not True:
            made["additionalProperties"] = False
    return made


def _logical(schema: Mapping[str, Any]) -> Schema:
    """A part of `oneOf` and the like: it restricts, and must not close the object that it speaks of."""
    made = {key: schema[key] for key in (*_KEPT, "type") if key in schema}
    if properties := schema.get("properties"):
        made["properties"] = {key: _logical(value) for key, value in sorted(properties.items())}
    if isinstance(items := schema.get("items"), Mapping):
        made["items"] = _logical(items)
    for key in ("anyOf", "allOf", "oneOf"):
        if key in schema:
            made[key] = [_logical(part) for part in schema[key]]
    if "not" in schema:
        made["not"] = _logical(schema["not"])
    return made


def python_pattern(pattern: str) -> str:
    """A pattern of Go's RE2 in Python's words, which wants its flags first."""
    flags = "(?i)" if "(?i)" in pattern else ""
    return flags + pattern.replace("(?i)", "").replace(r"\z", r"\Z").replace("[[:alnum:]]", "[0-9A-Za-z]")
