"""Where checkpoints are kept: a folder, or an address that `fsspec` reads and writes (`s3://bucket/path`, `memory://`).

States are written to a scratch folder first. A folder gets one by a rename; to an address the files are copied, and the
manifest after all others. Either way a state without a manifest is none.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from workloads.spec.base import file_digest
from workloads.spec.errors import UserError
from workloads.trainer.checkpoints.manifest import MANIFEST

_LOCAL = ("file", "local")


class Place:
    """`address`, with `scratch`, a folder of this machine, for what is not a folder itself."""

    def __init__(self, address: str, scratch: Path) -> None:
        try:
            self._fs: Any
            self._fs, self._root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UserError(f"checkpoints at {address!r}: {error}; give a folder or an address of fsspec") from None
        protocols = (self._fs.protocol,) if isinstance(self._fs.protocol, str) else self._fs.protocol
        self.address = address
        self._is_folder = any(protocol in _LOCAL for protocol in protocols)
        self._scratch = Path(self._root) if self._is_folder else scratch

    def names(self) -> list[str]:
        """What lies there, whole or not."""
        self._fs.invalidate_cache()
        if not self._fs.exists(self._root):
            return []
        return sorted(PurePosixPath(path).name for path in self._fs.ls(self._root, detail=False))

    def scratch(self) -> Path:
        """Where a state is put together."""
        return self._scratch / ".writing"

    def make_scratch(self) -> Path:
        """The scratch folder, empty. Raises `OSError`."""
        scratch = self.scratch()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        return scratch

    def put(self, name: str, files: Iterable[str]) -> None:
        """Make `files` of the scratch folder durable, as those of `name`; they are not yet a state. Raises `OSError`."""
        for file in files:
            if self._is_folder:
                _sync_to_disk(self.scratch() / file)
            else:
                self._fs.makedirs(str(PurePosixPath(self._path(name, file)).parent), exist_ok=True)
                self._fs.put_file(str(self.scratch() / file), self._path(name, file))

    def reveal(self, name: str) -> None:
        """Make the scratch folder, whose files are all put and which has its manifest, the state `name`."""
        if self._is_folder:
            _sync_to_disk(self.scratch() / MANIFEST)
            target = self._scratch / name
            shutil.rmtree(target, ignore_errors=True)  # a corrupt one of the same round
            self.scratch().rename(target)
            _sync_to_disk(self._scratch)
        else:
            self._fs.put_file(str(self.scratch() / MANIFEST), self._path(name, MANIFEST))
            self.clear_scratch()

    def clear_scratch(self) -> None:
        """Remove what was not revealed."""
        shutil.rmtree(self.scratch(), ignore_errors=True)

    def read(self, name: str, file: str) -> bytes:
        """Content of a small file. Raises `FileNotFoundError`."""
        content: bytes = self._fs.cat_file(self._path(name, file))
        return content

    def keep(self, name: str, content: bytes) -> None:
        """Make a small file beside the states durable, whole or not at all. Raises `OSError`."""
        if not self._is_folder:
            self._fs.pipe_file(f"{self._root}/{name}", content)
            return
        self._scratch.mkdir(parents=True, exist_ok=True)
        scratch = self._scratch / f".{name}.tmp"
        scratch.write_bytes(content)
        _sync_to_disk(scratch)
        scratch.replace(self._scratch / name)
        _sync_to_disk(self._scratch)

    def kept(self, name: str) -> bytes:
        """The newest content of such a file. Raises `FileNotFoundError`."""
        content: bytes = self._fs.cat_file(f"{self._root}/{name}")
        return content

    def digest(self, name: str, file: str) -> str:
        """SHA-256 of a file. Raises `FileNotFoundError`."""
        if self._is_folder:
            return file_digest(Path(self._path(name, file)))
        digest = hashlib.sha256()
        with self._fs.open(self._path(name, file), "rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()

    def fetch(self, name: str, files: Iterable[str]) -> Path:
        """A folder of this machine with `files` of `name`."""
        if self._is_folder:
            return self._scratch / name
        target = self._scratch / ".reading"
        shutil.rmtree(target, ignore_errors=True)
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(self._path(name, file), str(target / file))
        return target

    def fetched(self, name: str) -> Path:
        """The folder that `fetch` made, for the other workers of its machine."""
        return self._scratch / (name if self._is_folder else ".reading")

    def drop(self, name: str) -> None:
        """Remove the state `name`, its manifest first."""
        if self._fs.exists(self._path(name, MANIFEST)):
            self._fs.rm_file(self._path(name, MANIFEST))
        if self._fs.exists(f"{self._root}/{name}"):
            self._fs.rm(f"{self._root}/{name}", recursive=True)

    def _path(self, name: str, file: str) -> str:
        return f"{self._root}/{name}/{file}"


def _sync_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
