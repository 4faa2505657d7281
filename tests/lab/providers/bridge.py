"""Builds the lab's stand-in providers from their Go modules into a folder that looks like a part of PULUMI_HOME."""

import hashlib
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parent
_KINDS = {".go", ".mod", ".sum", ".txt"}


class BuildError(Exception):
    """A provider could not be built, in the words of Go."""


def build(name: str, plugins: Path) -> Path:
    """The folder of provider `name`, which the engine finds when `plugins` is its PULUMI_HOME's.

    One that these very sources have made is left alone: a build takes two minutes.

    Raises:
        BuildError: Go is missing, a module cannot be fetched, or something does not compile.
    """
    sources, version = SOURCES / name, sdk_version(name)
    target = plugins / f"resource-{name}-v{version}"
    record, executable = target / "sources", target / f"pulumi-resource-{name}"
    key = _key(sources)
    if executable.is_file() and record.is_file() and record.read_text(encoding="utf-8") == key:
        return target
    go = shutil.which("go")
    if go is None:
        raise BuildError("go is not on PATH; the lab's providers are built with it")
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *(go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
            *("-ldflags", f"-s -w -X main.version={version}", "-o", str(executable), "."),
        ],
        cwd=sources,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"go build of provider {name}: {done.stderr.strip()[-1500:]}")
    record.write_text(key, encoding="utf-8")
    return target


def sdk_version(name: str) -> str:
    """The version of a provider's Python SDK: the engine takes a plugin of no other."""
    spec = find_spec(f"pulumi_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(f"pulumi_{name} is not installed")
    plugin = Path(spec.submodule_search_locations[0], "pulumi-plugin.json")
    return str(json.loads(plugin.read_text(encoding="utf-8"))["version"]).removeprefix("v")


def _key(sources: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in sources.rglob("*") if path.suffix in _KINDS):
        digest.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
