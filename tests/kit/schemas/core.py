"""From Kubernetes' own API description to JSON schemas of single kinds. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.kit.schemas.structural import Schema, object_schema

_PREFIX = "#/definitions/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_SPECIAL: Mapping[str, Schema] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    # https://github.com/kubernetes/apimachinery/blob/v0.34.4/pkg/api/resource/quantity.go
    _QUANTITY: {
        "anyOf": [
            {"type": "number"},
            {
                "type": "string",
                "pattern": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
            },
        ]
    },
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"$ref": "#/$defs/metadata"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"type": "object"},
}
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

Enums = Mapping[tuple[str, str], list[str]]
"""By definition and property."""


def enumerations(generated: str) -> dict[tuple[str, str], list[str]]:
    """The enumerations in Kubernetes' generated Go code, which its published description leaves out.

    Keys are as `("io.k8s.api.core.v1.ServiceSpec", "type")`; the code calls it `schema_k8sio_api_core_v1_ServiceSpec`.
    """
    found: dict[tuple[str, str], list[str]] = {}
    definition = name = ""
    for line in generated.splitlines():
        if match := re.match(r"func schema_k8sio_api_(\w+?)_(\w+?)_(\w+)\(", line):
            definition = f"io.k8s.api.{match[1]}.{match[2]}.{match[3]}"
        elif line.startswith("func "):
            definition = ""
        elif match := re.match(r'\t{5}"(\w+)": \{', line):
            name = match[1]
        elif definition and (match := re.search(r"Enum:\s+\[\]interface\{\}\{(.*)\},", line)):
            found[definition, name] = re.findall(r'"([^"]*)"', match[1])
    return found


def core_kinds(swagger: Mapping[str, Any], enums: Enums) -> Iterator[tuple[str, Schema]]:
    """Each kind by `GROUP/VERSION/KIND`; its parts are references into `$defs`."""
    for name, definition in swagger["definitions"].items():
        for known in definition.get("x-kubernetes-group-version-kind", ()):
            if "properties" not in definition or "metadata" not in definition["properties"]:
                continue
            kind = "/".join(filter(None, (known["group"], known["version"], known["kind"])))
            yield kind, object_schema(kind, converted(name, definition, enums))


def parts(swagger: Mapping[str, Any], enums: Enums, kinds: Mapping[str, Schema]) -> dict[str, Schema]:
    """What the kinds refer to, closed under reference, with the metadata of every object."""
    definitions = swagger["definitions"]
    made: dict[str, Schema] = {"metadata": converted(METADATA, definitions[METADATA], enums)}
    waiting = set(_references(kinds)) | set(_references(made))
    while waiting:
        name = waiting.pop()
        if name in made:
            continue
        made[name] = dict(_SPECIAL[name]) if name in _SPECIAL else converted(name, definitions[name], enums)
        waiting |= set(_references(made[name])) - made.keys()
    return dict(sorted(made.items()))


def converted(name: str, definition: Mapping[str, Any], enums: Enums) -> Schema:
    """One definition as JSON schema. An API server that is told to be strict refuses a field that it does not know."""
    if "properties" not in definition:
        return _value(definition)
    properties = {}
    for key, value in sorted(definition["properties"].items()):
        properties[key] = _value(value)
        if values := enums.get((name, key)):
            inner = properties[key]["items"] if properties[key].get("type") == "array" else properties[key]
            inner["enum"] = values
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := definition.get("required"):
        made["required"] = required
    return made


def _value(value: Mapping[str, Any]) -> Schema:
    if reference := value.get("$ref"):
        name = reference.removeprefix(_PREFIX)
        return {"$ref": "#/$defs/metadata" if name == METADATA else f"#/$defs/{name}"}
    made: Schema = {"type": value["type"]} if "type" in value else {}
    if "items" in value:
        made["items"] = _value(value["items"])
    if isinstance(more := value.get("additionalProperties"), Mapping):
        made["additionalProperties"] = _value(more)
    return made


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "$ref":
                yield inner.removeprefix("#/$defs/")
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
