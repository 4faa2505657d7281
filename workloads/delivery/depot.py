"""A store opened: small files that change whole, and folders that are there with their manifest or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import NonNegativeInt

from workloads.spec.base import Frozen, Sha256, file_digest
from workloads.spec.delivery import Store
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError

T = TypeVar("T")
F = TypeVar("F", bound=Frozen)

Say = Callable[[str], None]

LISTING = "listing.json"
SECONDS_BETWEEN_LINES = 300.0  # of who waits for a store


class Listing(Frozen):
    """`listing.json` of a delivered folder: every other file in it, written after all of them."""

    files: dict[str, Sha256]
    bytes: NonNegativeInt

    @classmethod
    def of(cls, folder: Path) -> "Listing":
        """What is in a folder of this machine. Its digest is the content's identity, signatures included."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return cls(
            files={str(path.relative_to(folder)): file_digest(path) for path in paths},
            bytes=sum(path.stat().st_size for path in paths),
        )


class Depot:
    """`store` as folders and files below it, by names with slashes.

    Every method raises `UserError` where the store cannot be reached, refuses, or is full.
    """

    def __init__(self, store: Store) -> None:
        self._address = store.address
        options = {} if store.profile is None else {"profile": store.profile}
        self._fs: Any
        self._root: str
        self._fs, self._root = self._asked("opened", lambda: fsspec.core.url_to_fs(store.address, **options))
        self._is_folder = isinstance(self._fs, LocalFileSystem)

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None: there is none."""
        self._fs.invalidate_cache()
        try:
            content: bytes = self._asked(f"read for {name}", lambda: self._fs.cat_file(self._path(name)))
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Make `content` the file `name`, whole or not at all."""
        if self._is_folder:
            target = Path(self._path(name))
            scratch = target.with_name(f".{target.name}.{os.getpid()}")

            def replace() -> None:
                target.parent.mkdir(parents=True, exist_ok=True)
                scratch.write_bytes(content)
                scratch.replace(target)

            self._asked(f"written for {name}", replace)
        else:
            # an object appears whole once its upload is over
            self._asked(f"written for {name}", lambda: self._fs.pipe_file(self._path(name), content))

    def load(self, kind: type[F], name: str) -> F | None:
        """A value that was written as JSON. Raises `UserError` if what is there does not fit."""
        content = self.read(name)
        if content is None:
            return None
        try:
            return kind.model_validate_json(content)
        except ValueError:
            raise UserError(f"{self._address}/{name} is no {kind.__name__}; remove it, or deliver again") from None

    def save(self, value: Frozen, name: str) -> None:
        """Write a value as JSON."""
        self.write(name, value.model_dump_json(indent=2).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""
        try:
            self._asked(f"cleared of {name}", lambda: self._fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def keep(self, file: Path, name: str) -> None:
        """Make `file` the file `name`, over what was there; earlier versions are the store's own to keep."""
        if self._is_folder:
            Path(self._path(name)).parent.mkdir(parents=True, exist_ok=True)
        self._put(file, self._path(name))

    def recall(self, name: str, file: Path) -> bool:
        """Get the file `name`, whole, as `file`; whether there is one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{file.name}")
        self._fs.invalidate_cache()
        try:
            self._asked(f"read for {name}", lambda: self._fs.get_file(self._path(name), str(scratch)))
        except FileNotFoundError:
            return False
        scratch.replace(file)
        return True

    def deliver(self, folder: Path, name: str) -> None:
        """All files of `folder` below `name`, and the listing that makes them whole after them. One that is whole stays."""
        listing = Listing.of(folder)
        if self.load(Listing, f"{name}/{LISTING}") == listing:
            return
        self.remove(f"{name}/{LISTING}")  # what is put now must not look whole beside the files of an earlier attempt
        for file in listing.files:
            target = self._path(f"{name}/{file}")
            if self._is_folder:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
            self._put(folder / file, target)
        self.save(listing, f"{name}/{LISTING}")

    def collect(self, name: str, folder: Path, check: Callable[[Path], None] = lambda _: None) -> bool:
        """The delivered folder `name` as `folder`, in place of what was there; whether it is whole in the store.

        It becomes `folder` only after its files agree with the listing and `check`, which raises, is content with it.

        Raises:
            UserError: also if a file is not what the listing says, or the disk has no room.
        """
        listing = self.load(Listing, f"{name}/{LISTING}")
        if listing is None:
            return False
        scratch = folder.with_name(f".{folder.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            ensure_room(scratch, listing.bytes, f"the copy of {self._address}/{name}")
            for file, digest in listing.files.items():
                self._get(f"{name}/{file}", _inside(scratch, file), digest)
            check(scratch)
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return True

    def _put(self, source: Path, target: str) -> None:
        self._asked(f"written for {source.name}", lambda: self._fs.put_file(str(source), target))

    def _get(self, name: str, target: Path, digest: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._asked(f"read for {name}", lambda: self._fs.get_file(self._path(name), str(target)))
        except FileNotFoundError:
            raise UserError(f"{self._address}/{name} is listed and not there; deliver it again") from None
        if file_digest(target) != digest:
            raise UserError(f"{self._address}/{name} was changed since it was delivered; deliver it again")

    def _path(self, name: str) -> str:
        return str(PurePosixPath(self._root) / name)

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001 - every protocol's library has errors of its own
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self._address} cannot be {what} ({type(error).__name__}: {reason}); mend the address, the way to "
                "it, or who may use it"
            ) from None


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{name!r} leads out of the folder that it was delivered in; deliver it again")
    return path
