"""Builds the lab's stand-in providers from their Go modules into a folder that looks like a part of PULUMI_HOME."""

import json
from importlib.util import find_spec
from pathlib import Path

from tests.lab.compiling import Program, compiled
from tests.lab.daemons import LabError

SOURCES = Path(__file__).parent


def build(name: str, plugins: Path) -> Path:
    """The folder of provider `name`, which the engine finds when `plugins` is its PULUMI_HOME's.

    One that these very sources have made is left alone: a build takes two minutes.

    Raises:
        LabError: Go is missing, a module cannot be fetched, or something does not compile.
    """
    version = sdk_version(name)
    target = plugins / f"resource-{name}-v{version}"
    compiled(Program(f"pulumi-resource-{name}", SOURCES / name, stamps={"main.version": version}), target)
    return target


def sdk_version(name: str) -> str:
    """The version of a provider's Python SDK: the engine takes a plugin of no other."""
    spec = find_spec(f"pulumi_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise LabError(f"pulumi_{name} is not installed")
    plugin = Path(spec.submodule_search_locations[0], "pulumi-plugin.json")
    return str(json.loads(plugin.read_text(encoding="utf-8"))["version"]).removeprefix("v")
