"""What the providers' own SDKs say of a resource's inputs: names, nesting, and what is required."""

import importlib
import inspect
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pulumi import _types

_PACKAGES = {
    "aws": "pulumi_aws",
    "docker-build": "pulumi_docker_build",
    "kubernetes": "pulumi_kubernetes",
    "openstack": "pulumi_openstack",
}


def faults(token: str, inputs: Mapping[str, Any]) -> list[str]:
    """Each input of a resource that its SDK does not have or that is missing, by path; empty when all is well."""
    arguments = arguments_of(token)
    if arguments is None:
        return [f"no SDK has a resource type {token}"]
    required = _required(arguments)
    missing = [f"{name} is required" for name in sorted(required - inputs.keys())]
    return [*missing, *_unknown(arguments, inputs, "")]


def inputs_of(token: str) -> frozenset[str]:
    """Names of the inputs of a type; empty where no SDK has it."""
    arguments = arguments_of(token)
    return frozenset() if arguments is None else frozenset(_names(arguments))


@cache
def arguments_of(token: str) -> type | None:
    """The SDK's class of arguments of a type such as `aws:ec2/vpc:Vpc`; None if there is none."""
    package, module, name = token.split(":")
    path = module.split("/")[0]
    if (
        package == "kubernetes"
    ):  # `kubernetes:apps/v1:Deployment`, `kubernetes:core/v1:Service`, `kubernetes:helm.sh/v3:…`
        group, _, version = module.partition("/")
        path = f"{group.split('.')[0]}.{version}"
    root = _PACKAGES.get(package)
    if root is None:
        return None
    for where in (f"{root}.{path.replace('-', '_')}", f"{root}.{path.lower()}", root):
        try:
            # `InitArgs` is there where `Args` is the name of a nested value as well
            found = getattr(importlib.import_module(where), f"{name}InitArgs", None)
            found = found or getattr(importlib.import_module(where), f"{name}Args", None)
        except ImportError:
            continue
        if found is not None:
            return typing.cast("type", found)
    return None


@cache
def _names(arguments: type) -> dict[str, Any]:
    """Names as the engine sees them, with their types."""
    return dict(_types.input_type_types(arguments))


@cache
def _required(arguments: type) -> set[str]:
    names = _types.input_type_py_to_pulumi_names(arguments)
    parameters = inspect.signature(arguments.__init__).parameters
    return {
        names[name]
        for name, parameter in parameters.items()
        if name in names and parameter.default is inspect.Parameter.empty
    }


def _unknown(arguments: type, values: Mapping[str, Any], path: str) -> list[str]:
    names = _names(arguments)
    found = [f"{path}{key} is unknown; there are {', '.join(sorted(names))}" for key in values if key not in names]
    for key, value in values.items():
        inner = _input_type(names[key]) if key in names else None
        if inner is None:
            continue
        items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for item in items:
            if isinstance(item, Mapping):
                found += _unknown(inner, item, f"{path}{key}.")
    return found


@cache
def _input_type(hint: Any) -> type | None:
    """The nested class of arguments in a type hint, but none for a map of such: its keys are the user's."""
    if isinstance(hint, type) and _types.is_input_type(hint):
        return hint
    if typing.get_origin(hint) in {dict, Mapping}:
        return None
    return next((found for part in typing.get_args(hint) if (found := _input_type(part)) is not None), None)
