"""Builds the controllers' programs from Go modules, and renders their charts. What is up to date is left alone."""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from tests.kit.schemas.sources import KUBERNETES
from tests.lab.cluster import Cluster, Layout
from tests.lab.compiling import compiled, go, said
from tests.lab.controllers.charts import SOURCES, Source
from tests.lab.controllers.fitting import fitted
from tests.lab.controllers.programs import GO, ISTIO, PROGRAMS, RENDERER

_BOOTSTRAP = "tools/packaging/common/envoy_bootstrap.json"

Manifests = list[dict[str, Any]]


def build(cluster: Cluster) -> None:
    """Leave the programs in `bin`, and beside them the form of Envoy's first configuration; charts in `manifests`.

    Raises:
        LabError: Go is missing, a module cannot be fetched, something does not compile, or a chart refuses its values.
    """
    layout = cluster.layout
    for program in PROGRAMS:
        began = time.monotonic()
        made = compiled(program, layout.bin)
        size_mb = (layout.bin / program.name).stat().st_size / 1e6
        what = f"built in {time.monotonic() - began:.0f} s" if made else "up to date"
        print(f"{program.name}: {what}, {size_mb:.0f} MB", flush=True)  # noqa: T201 - the interface of a command
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
    text = said([str(layout.bin / RENDERER.name)], GO, json.dumps(request))
    return fitted(yaml.load_all(text, yaml.CSafeLoader), source.image, several=source.several)


def module(folder: str, name: str) -> Path:
    """Where the source of a module is that a `go.mod` of the lab requires. Raises `LabError`."""
    go(["mod", "download", name], GO / folder)
    return Path(go(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", name], GO / folder).strip())


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
