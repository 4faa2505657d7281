"""Builds the controllers' programs from Go modules, and renders their charts. What is up to date is left alone."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from tests.kit.schemas.sources import KUBERNETES
from tests.lab import metrics
from tests.lab.cluster import Cluster, Layout
from tests.lab.controllers.charts import SOURCES, Source
from tests.lab.controllers.fitting import fitted
from tests.lab.controllers.programs import GO, ISTIO, PROGRAMS, RENDERER, Program
from tests.lab.daemons import LabError

_BOOTSTRAP = "tools/packaging/common/envoy_bootstrap.json"
_ERROR_CHARACTERS = 1500

Manifests = list[dict[str, Any]]


def build(cluster: Cluster) -> None:
    """Leave the programs in `bin`, and beside them the form of Envoy's first configuration; charts in `manifests`.

    Raises:
        LabError: Go is missing, a module cannot be fetched, something does not compile, or a chart refuses its values.
    """
    if shutil.which("go") is None:
        raise LabError("go is not on PATH; the lab's controllers are built with it: install Go 1.26 or newer")
    layout = cluster.layout
    layout.bin.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        began = time.monotonic()
        made = _compile(program, layout)
        size_mb = (layout.bin / program.binary).stat().st_size / 1e6
        what = f"built in {time.monotonic() - began:.0f} s" if made else "up to date"
        print(f"{program.binary}: {what}, {size_mb:.0f} MB", flush=True)  # noqa: T201 - the interface of a command
    metrics.build(cluster)
    _replace(layout.bin / "envoy_bootstrap.json", (module("mesh", ISTIO) / _BOOTSTRAP).read_text(encoding="utf-8"))
    for source in SOURCES:
        text = yaml.dump_all(render(layout, source), Dumper=yaml.CSafeDumper, sort_keys=False)
        _replace(manifest(layout, source), text)


def manifest(layout: Layout, source: Source) -> Path:
    """Where a rendered chart lies."""
    return layout.root / "manifests" / f"{source.release.name}.yaml"


def render(layout: Layout, source: Source) -> Manifests:
    """A chart's objects as the lab applies them. Raises `LabError` with Helm's words."""
    request = {
        "folder": str(module(source.go, source.module) / source.folder),
        "name": source.release.name,
        "namespace": source.release.namespace,
        "kubernetes": KUBERNETES.version,
        "values": source.values,
    }
    text = _said([str(layout.bin / RENDERER.binary)], GO, json.dumps(request))
    return fitted(yaml.load_all(text, yaml.CSafeLoader), source.image, several=source.several)


def module(folder: str, name: str) -> Path:
    """Where the source of a module is that a `go.mod` of the lab requires. Raises `LabError`."""
    _said(["go", "mod", "download", name], GO / folder)
    return Path(_said(["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", name], GO / folder).strip())


def _compile(program: Program, layout: Layout) -> bool:
    """Whether it had to be built."""
    target, record = layout.bin / program.binary, layout.bin / f".{program.binary}.sources"
    key = _key(program)
    if target.is_file() and record.is_file() and record.read_text(encoding="utf-8") == key:
        return False
    # beside its place and then renamed: a program that runs is not written over
    part = layout.bin / f".{program.binary}.part"
    _said(["go", "build", *program.flags, "-o", str(part), program.package], GO / program.folder)
    part.rename(target)
    record.write_text(key, encoding="utf-8")
    return True


def _key(program: Program) -> str:
    digest = hashlib.sha256(json.dumps([program.flags, program.package]).encode())
    folder = GO / program.folder
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".go", ".mod", ".sum"}):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _said(command: list[str], folder: Path, text: str = "") -> str:
    """Standard output of a command. Raises `LabError` with the end of its errors."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=text,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(
            f"{Path(command[0]).name} {command[1] if command[1:] else ''}: {done.stderr.strip()[-_ERROR_CHARACTERS:]}"
        )
    return done.stdout


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
