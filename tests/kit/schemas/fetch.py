"""Makes the checked-in schemas anew from their sources: `python -m tests.kit.schemas.fetch`. Needs Go and its proxy."""

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.kit.schemas.core import core_kinds, enumerations, parts
from tests.kit.schemas.sources import CUSTOM, KUBERNETES, Source
from tests.kit.schemas.structural import Schema, custom_kinds

PINNED = Path(__file__).parent / "pinned"


class _Loader(yaml.CSafeLoader):
    """Prometheus' matchers have a bare `=` among their values, a type that PyYAML knows and cannot make."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


def module_folder(source: Source) -> Path:
    """The module on this machine, fetched if it is not there yet.

    Raises:
        RuntimeError: Go cannot fetch it, or what it fetched has another hash than the pinned one.
    """
    with tempfile.TemporaryDirectory() as empty:  # no go.mod of ours has a say
        done = subprocess.run(
            ["go", "mod", "download", "-json", f"{source.module}@{source.version}"],
            cwd=empty,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{source.module}@{source.version}: {done.stdout or done.stderr}")
    known = json.loads(done.stdout)
    if known["Sum"] != source.sum:
        raise RuntimeError(f"{source.module}@{source.version} has hash {known['Sum']}, not {source.sum}")
    return Path(known["Dir"])


def extract(source: Source, folder: Path) -> dict[str, Any]:
    """The document that is checked in for a source.

    Raises:
        RuntimeError: the module lacks a kind that is wanted of it.
    """
    files = sorted(path for pattern in source.files for path in folder.glob(pattern))
    if source is KUBERNETES:
        swagger = json.loads(files[0].read_text(encoding="utf-8"))
        enums = enumerations(files[1].read_text(encoding="utf-8"))
        kinds = _wanted(source, core_kinds(swagger, enums))
        definitions = parts(swagger, enums, kinds)
    else:
        kinds = _wanted(source, custom_kinds(_documents(files)))
        definitions = {}
    header = {"module": source.module, "version": source.version, "sum": source.sum, "files": list(source.files)}
    return {"generated": "by tests/kit/schemas/fetch.py", "source": header, "kinds": kinds, "definitions": definitions}


def _wanted(source: Source, kinds: Iterator[tuple[str, Schema]]) -> dict[str, Schema]:
    found = {kind: schema for kind, schema in kinds if kind in source.kinds}
    if missing := set(source.kinds) - found.keys():
        raise RuntimeError(f"{source.module}@{source.version} lacks {sorted(missing)}")
    return dict(sorted(found.items()))


def _documents(files: list[Path]) -> Iterator[Mapping[str, Any]]:
    for path in files:
        for document in yaml.load_all(path.read_text(encoding="utf-8"), _Loader):
            if document and document["kind"] == "CustomResourceDefinition":
                yield document


def main() -> None:
    PINNED.mkdir(exist_ok=True)
    for source in (KUBERNETES, *CUSTOM):
        text = json.dumps(extract(source, module_folder(source)), sort_keys=True, separators=(",", ":"))
        path = PINNED / f"{source.name}.json.gz"
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
        sys.stdout.write(f"{path.name}: {len(text)} characters, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
