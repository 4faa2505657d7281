"""Archives of images, taken by a containerd: each once, and again when it has changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.lab.cluster.layout import Layout
from tests.lab.cluster.node_files import CTR

Version = list[int]
"""Size in bytes and the time of the last change in ns."""

_RECORD: Final = "lab-images.json"


def pending(layout: Layout, root: Path) -> list[Path]:
    """Archives that the containerd with this root has not taken as they are now."""
    known = _known(root)
    return [path for path in sorted(layout.images.glob("*.tar")) if known.get(path.name) != _version(path)]


def load(layout: Layout, root: Path, run: Callable[..., str]) -> list[str]:
    """Names of those it took. `run` runs a command beside it, and says why one fails."""
    taken = pending(layout, root)
    for archive in taken:
        version = _version(archive)
        run(*CTR, "images", "import", str(archive))
        known = _known(root) | {archive.name: version}
        (root / _RECORD).write_text(json.dumps(known), encoding="utf-8")
    return [archive.stem for archive in taken]


def _version(archive: Path) -> Version:
    state = archive.stat()
    return [state.st_size, state.st_mtime_ns]


def _known(root: Path) -> dict[str, Version]:
    record = root / _RECORD
    return json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
