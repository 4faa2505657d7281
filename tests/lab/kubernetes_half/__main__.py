"""Objects from a file, applied by the product's own function: what a test wants to see the provider do.

The file is a list of `{name, manifest, secret, ignore, after}`: the resource's name, the object, paths whose values are
secrets, paths that another writer owns, and the resources that come first.
"""

import json
import os
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra.manifests import apply
from infra.naming import Naming
from infra.scope import Platform, Scope
from infra.settings import PROJECT


def guarded(value: Any, path: list[str]) -> Any:
    """The value with what is at the path as a secret; a number is a place in a list."""
    if not path:
        return pulumi.Output.secret(value)
    step, *rest = path
    if isinstance(value, list):
        return [guarded(item, rest) if number == int(step) else item for number, item in enumerate(value)]
    return {**value, step: guarded(value[step], rest)}


provider = kubernetes.Provider("kubernetes", kubeconfig=os.environ["LAB_KUBECONFIG"])
naming = Naming(PROJECT, pulumi.get_stack(), "lab", "none")
scope = Scope(naming, Platform(naming.prefix, {"kubernetes": provider}), protect=False)
made: dict[str, pulumi.Resource] = {}
for wanted in json.loads(Path(os.environ["LAB_OBJECTS"]).read_text(encoding="utf-8")):
    manifest = wanted["manifest"]
    for path in wanted.get("secret", []):
        manifest = guarded(manifest, path.split("."))
    after = [made[name] for name in wanted.get("after", [])]
    made[wanted["name"]] = apply(scope, wanted["name"], manifest, *after, ignore=wanted.get("ignore", []))
