"""What an image is built from, and the tag that says so. Reads files, and nothing else."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

FOLDER = Path("infra", "images")
"""Of the Dockerfiles, from the root of the repository, which is the context of every build."""

TRAINER, TRAINER_EFA = "trainer", "trainer-efa"
"""The second stands on the first, and goes to its repository."""

_TAG_LENGTH: Final = 16


def dockerfile(image: str) -> Path:
    """The Dockerfile of an image, from the root of the repository."""
    return FOLDER / f"{image}.Dockerfile"


def context_files(root: Path, image: str) -> tuple[Path, ...]:
    """Files that the image's `.dockerignore` lets in, in order; it lets in what it names with `!`, and no more."""
    ignore = root / f"{dockerfile(image)}.dockerignore"
    allowed = [line[1:] for line in ignore.read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    found = {file for name in allowed for file in _files(root / name) if not _generated(file)}
    return tuple(sorted(file.relative_to(root) for file in found))


def source_tag(root: Path, image: str, arguments: Mapping[str, str]) -> str:
    """A tag that changes with whatever the image is made of: repositories refuse to give one tag to two images.

    Raises:
        OSError: a file of the context cannot be read.
    """
    digest = hashlib.sha256(json.dumps(dict(arguments), sort_keys=True).encode())
    for file in (dockerfile(image), Path(f"{dockerfile(image)}.dockerignore"), *context_files(root, image)):
        content = hashlib.sha256((root / file).read_bytes()).hexdigest()
        digest.update(f"{file.as_posix()} {content}\n".encode())
    return digest.hexdigest()[:_TAG_LENGTH]


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else iter([path])


def _generated(file: Path) -> bool:
    return "__pycache__" in file.parts or file.suffix == ".pyc"
