"""Objects of the API as plain values: what names them, what is sent, what is kept. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulumi.runtime import rpc

from workloads.spec.errors import UserError

Object = dict[str, Any]

AUTONAMED: Final = "pulumi.com/autonamed"
DEFAULT_NAMESPACE: Final = "default"

_SECRET_FIELDS: Final = ("data", "stringData")
# the server's own account of an object, which is no part of what anybody wanted
_BOOKKEEPING: Final = frozenset(
    {"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields"}
    | {"resourceVersion", "selfLink", "uid"}
)


@dataclass(frozen=True)
class Reference:
    """Which object: by version and kind, and by name."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    @property
    def identity(self) -> str:
        """The resource's id in Pulumi's state, as the official provider writes it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.identity}"


def reference(value: Mapping[str, Any]) -> Reference:
    named_by = value["metadata"]
    return Reference(value["apiVersion"], value["kind"], named_by["name"], named_by.get("namespace") or "")


def reference_of(token: str, identity: str) -> Reference:
    """The object of a type token and an id: all that an import knows."""
    _, version, kind = token.split(":")
    namespace, _, name = identity.rpartition("/")
    return Reference(version.removeprefix("core/"), kind, name, namespace)


def named(inputs: Object, old: Object, name: str, seed: str) -> Object:
    """The inputs with a name: the one that was drawn before, or the resource's and eight digits of `seed`."""
    given = inputs.get("metadata") or {}
    if not isinstance(given, Mapping) or given.get("name"):  # or it is not known yet
        return inputs
    before = metadata(old).get("name") if annotations(old).get(AUTONAMED) == "true" else None
    marked = {**annotations(inputs), AUTONAMED: "true"}
    return {**inputs, "metadata": {**given, "name": before or f"{name}-{seed[:8]}", "annotations": marked}}


def annotations(value: Mapping[str, Any]) -> dict[str, str]:
    found = metadata(value).get("annotations")
    return dict(found) if isinstance(found, Mapping) else {}


def metadata(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its metadata; empty where there is none, or none that a preview knows."""
    found = value.get("metadata")
    return found if isinstance(found, Mapping) else {}


def sent(inputs: Mapping[str, Any]) -> Object:
    """The object as it goes to the server: no empty values, and a Secret's texts as the data that they become.

    Texts that were sent as such would stay in the data when they are left out later.
    """
    whole: Object = _without_nulls(inputs)
    if whole.get("kind") != "Secret" or "stringData" not in whole:
        return whole
    texts = {key: base64.b64encode(str(text).encode()).decode() for key, text in whole.pop("stringData").items()}
    return {**whole, "data": {**whole.get("data", {}), **texts}}


def as_declared(live: Object, inputs: Mapping[str, Any]) -> Object:
    """The object of the server in the program's own terms: a Secret's texts are texts again."""
    if live.get("kind") != "Secret" or "stringData" not in inputs:
        return live
    data = dict(live.get("data") or {})
    texts = {key: base64.b64decode(data.pop(key)).decode() for key in inputs["stringData"] if key in data}
    return {**live, "data": data, "stringData": texts}


def substance(live: Mapping[str, Any]) -> Object:
    """The object without the server's account of it and without what its controllers report."""
    wanted = {key: value for key, value in metadata(live).items() if key not in _BOOKKEEPING}
    return {**{key: value for key, value in live.items() if key != "status"}, "metadata": wanted}


def kept(live: Mapping[str, Any]) -> Object:
    """The object as Pulumi's state keeps it."""
    told = {key: value for key, value in metadata(live).items() if key != "managedFields"}
    return guarded({**live, "metadata": told})


def guarded(value: Mapping[str, Any]) -> Object:
    """A Secret with its contents marked as secret, whatever the program says of them; anything else as it is."""
    if value.get("kind") != "Secret":
        return dict(value)
    return {key: _secret(item) if key in _SECRET_FIELDS else item for key, item in value.items()}


def require_supported(token: str) -> None:
    """Raises `UserError` for a type of the package that is no object of the API."""
    group = token.split(":")[1].partition("/")[0]
    if group in {"helm.sh", "yaml", "kustomize"} or token.endswith("Patch"):
        raise UserError(f"{token} is no object of the API; the lab's stand-in applies objects alone")


def _secret(value: Any) -> Object:
    return {rpc._special_sig_key: rpc._special_secret_sig, "value": value}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
