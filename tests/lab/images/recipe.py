"""What an image is made of, and the key that says so. Pure but for reading files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEBIAN = "debian"
"""The base that all others stand on."""


@dataclass(frozen=True)
class Recipe:
    """An image before it is built. `files` is the whole context, by place: a file of this machine, or its content."""

    dockerfile: str  # its text
    files: Mapping[str, Path | bytes]
    bases: Mapping[str, str] = field(default_factory=lambda: {"BASE": DEBIAN})  # images that are its arguments
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None  # the stage that it is, if not the last
    after: str | None = None  # an image that is a stage of it, so that its layers are there
    exported: bool = True  # as an archive for the nodes
    kept: bool = False  # in the store, for what is built later

    def key(self, base_keys: Iterable[str]) -> str:
        """Changes with whatever the image is made of: its bases, its Dockerfile, arguments, and every file and its mode.

        Raises:
            OSError: a file cannot be read.
        """
        made_of = ["".join(base_keys), self.dockerfile, dict(self.arguments), *filter(None, [self.target])]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
        for place, content in sorted(self.files.items()):
            executable = isinstance(content, Path) and bool(content.stat().st_mode & 0o100)
            digest.update(f"{place}\0{executable}\0{_digest(content)}\n".encode())
        return digest.hexdigest()

    def lay(self, folder: Path) -> None:
        """The context as a folder. All files are of one age: a builder takes a newer file for another file."""
        for place, content in self.files.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copy(content, target)
            else:
                target.write_bytes(content)
            os.utime(target, (0, 0))


def _digest(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
