"""Kubernetes objects against the schemas of the versions that the program pins. Needs no network.

`validate` raises `RefusedError` with the path and the reason; `manifests_of` gives every object that a mocked program
declares, as it would be applied.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

PINNED: Final = Path(__file__).parent / "pinned"

# https://kubernetes.io/docs/concepts/overview/working-with-objects/{names,labels}/
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_NAMED_AS_LABELS = {"v1/Namespace", "v1/Service"}
_NAMED_FREELY = "rbac.authorization.k8s.io/"


class RefusedError(ValueError):
    """What an API server would refuse, or would drop without a word."""


def pinned() -> list[dict[str, Any]]:
    """The checked-in documents, one a source."""
    return [json.loads(gzip.decompress(path.read_bytes())) for path in sorted(PINNED.glob("*.json.gz"))]


@cache
def _schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    documents = pinned()
    kinds = {kind: schema for document in documents for kind, schema in document["kinds"].items()}
    return kinds, {name: schema for document in documents for name, schema in document["definitions"].items()}


@cache
def _validator(kind: str) -> Draft202012Validator:
    kinds, definitions = _schemas()
    if kind not in kinds:
        raise RefusedError(f"{kind}: no schema is pinned for this kind; add it in tests/kit/schemas/sources.py")
    return Draft202012Validator({**kinds[kind], "$defs": definitions})


def validate(manifest: Mapping[str, Any]) -> None:
    """Check one object.

    Raises:
        RefusedError: its kind has no pinned schema, or it does not fit; with the object, the path and the reason.
    """
    kind = f"{manifest.get('apiVersion')}/{manifest.get('kind')}"
    subject = f"{kind} {manifest.get('metadata', {}).get('name')}"
    if error := best_match(_validator(kind).iter_errors(manifest)):
        raise RefusedError(f"{subject}: {_deepest(error)}")
    for problem in _naming(kind, manifest["metadata"]):
        raise RefusedError(f"{subject}: {problem}")


def validate_all(manifests: Iterable[Mapping[str, Any]]) -> int:
    """Check each, and say how many there were.

    Raises:
        RefusedError: one or more do not fit; all of them are named.
    """
    faults, count = [], 0
    for manifest in manifests:
        count += 1
        try:
            validate(manifest)
        except RefusedError as refused:
            faults.append(str(refused))
    if faults:
        raise RefusedError("\n".join(faults))
    return count


def _deepest(error: ValidationError) -> str:
    return f"{error.json_path}: {error.message:.400}"


def _naming(kind: str, metadata: Mapping[str, Any]) -> Iterator[str]:
    name = metadata.get("name", "")
    if not kind.startswith(_NAMED_FREELY):
        pattern, limit = (_LABEL_NAME, 63) if kind in _NAMED_AS_LABELS else (_SUBDOMAIN, 253)
        if not pattern.fullmatch(name) or len(name) > limit:
            yield f"$.metadata.name: {name!r} is no DNS name of at most {limit} characters"
    for field in ("labels", "annotations"):
        for key, value in metadata.get(field, {}).items():
            prefix, slash, last = key.rpartition("/")
            if not _KEY_NAME.fullmatch(last) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
                yield f"$.metadata.{field}: {key!r} is no key of a label"
            if field == "labels" and not _LABEL_VALUE.fullmatch(value):
                yield f"$.metadata.labels.{key}: {value!r} is no value of a label"


def manifests_of(program: Any) -> Iterator[dict[str, Any]]:
    """Each object that a mocked program declares in the cluster, as it would be applied; charts are not looked into.

    `program` has `resources` with a `type` and `inputs`, as `tests.kit.cloud.declare` gives it.
    """
    for resource in program.resources:
        package, _, rest = resource.type.partition(":")
        api_version, _, kind = rest.rpartition(":")
        if package != "kubernetes" or not api_version or api_version.startswith("helm.sh/"):
            continue
        yield {
            **{key: _plain(value) for key, value in resource.inputs.items() if value is not None},
            "apiVersion": api_version.removeprefix("core/"),
            "kind": kind.removesuffix("Patch"),  # a patch is a part of what it patches
        }


def _plain(value: Any) -> Any:
    """The value as JSON has it: the engine knows one kind of number, and what is whole is an integer to Kubernetes."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
