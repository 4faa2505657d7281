"""Builds what is not up to date, bases first."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from infra.settings import ROOT
from tests.lab.cluster import packages
from tests.lab.daemons import LabError
from tests.lab.images import debian
from tests.lab.images.catalogue import HERE, KEPT, NAMES, recipe
from tests.lab.images.indexes import Indexes, indexes
from tests.lab.images.layout import Layout, reference
from tests.lab.images.recipe import DEBIAN, Recipe
from tests.lab.images.store import Store

NEEDED: Final = {"buildah": "/usr/bin/buildah", "debootstrap": "/usr/sbin/debootstrap", "gcc": "/usr/bin/gcc"}
"""Debian's packages that images are made with, by a file of each."""

_PIP = ROOT / ".state/uv/bin/python"
_SCRATCH = "scratch-"


def build(names: Iterable[str] | None = None, layout: Layout | None = None) -> None:
    """Leave the archives of images, all or those named, at their place. One whose sources did not change stays.

    Raises:
        LabError: not root, a package of Debian is not to be had, a name is unknown, a binary is not there, or a build failed.
    """
    if os.geteuid() != 0:
        raise LabError("images are built as root, in a chroot")
    packages.install(NEEDED)
    layout = layout or Layout()
    wanted = tuple(NAMES if names is None else names)
    with _alone(layout):
        _tidy(layout)
        _compile_pause(layout)
        workshop = Workshop(layout)
        for name in wanted:
            workshop.make(name)
        workshop.clear()


class Workshop:
    """One run over the images of a layout."""

    def __init__(self, layout: Layout, store: Store | None = None) -> None:
        self._layout, self._store = layout, store or Store(layout.store)
        self._current: set[str] = set()  # what this run has looked at
        self._built = False

    def make(self, name: str) -> None:
        """Build it unless it is up to date, and before it what it stands on."""
        if name in self._current:
            return
        whole = None if name == DEBIAN else recipe(name, self._layout)
        exported = whole is not None and whole.exported
        key, noted = self.key(name), self._layout.key(name)
        there = self._layout.archive(name).is_file() if exported else self._store.has(reference(name))
        if there and noted.is_file() and noted.read_text(encoding="utf-8") == key:
            print(f"{name}: up to date", flush=True)  # noqa: T201 - the interface of a command
        else:
            for base in () if whole is None else filter(None, (*whole.bases.values(), whole.after)):
                self.make(base)
            noted.unlink(missing_ok=True)
            self._build(name, whole)
            noted.parent.mkdir(parents=True, exist_ok=True)
            noted.write_text(key, encoding="utf-8")
        self._current.add(name)

    def key(self, name: str) -> str:
        """Of the image and all that it stands on."""
        if name == DEBIAN:
            return debian.key()
        whole = recipe(name, self._layout)
        return whole.key([self.key(base) for base in whole.bases.values()])

    def clear(self) -> None:
        """Remove from the store what no later build can use; layers that a change would need again stay."""
        if self._built:
            self._store.keep([reference(name) for name in KEPT])

    def _build(self, name: str, whole: Recipe | None) -> None:
        began = time.monotonic()
        self._built = True
        log = self._layout.log(name)
        with TemporaryDirectory(prefix=_SCRATCH, dir=self._layout.store) as scratch:
            self._build_in(Path(scratch), name, whole)
        size = ""
        if whole is not None and whole.exported:
            archive = self._layout.archive(name)
            self._store.export(reference(name), archive, log)
            size = f", {archive.stat().st_size / 1e6:.0f} MB"
        print(f"{name}: built in {time.monotonic() - began:.0f} s{size}", flush=True)  # noqa: T201

    def _build_in(self, scratch: Path, name: str, whole: Recipe | None) -> None:
        context, file = scratch / "context", scratch / "Dockerfile"
        arguments: dict[str, str] = {}
        secrets: dict[str, Path] = {}
        if whole is None:
            file.write_text(debian.lay(context), encoding="utf-8")
        else:
            context.mkdir()
            whole.lay(context)
            file.write_text(whole.dockerfile, encoding="utf-8")
            arguments = dict(whole.arguments)
            arguments |= {argument: reference(base) for argument, base in whole.bases.items()}
            if "PIP_INDEX_URL" in whole.dockerfile:
                arguments |= machine().arguments
                secrets = secret_files(machine(), scratch)
        target = whole.target if whole is not None else None
        self._store.build(reference(name), file, context, self._layout.log(name), arguments, secrets, target)


@cache
def machine() -> Indexes:
    """How this machine reaches Python's packages."""
    done = subprocess.run([_PIP, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"pip does not tell its configuration: {done.stderr.strip()[-300:]}")
    netrc = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    return indexes(os.environ, done.stdout, netrc.read_text(encoding="utf-8") if netrc.is_file() else "")


def secret_files(of: Indexes, folder: Path) -> dict[str, Path]:
    """What the Dockerfiles mount, by its id; in `folder`, readable by nobody else, where it is not a file already."""
    files: dict[str, Path] = {}
    if of.netrc:
        files["netrc"] = folder / "netrc"
        files["netrc"].touch(mode=0o600)
        files["netrc"].write_text(of.netrc, encoding="utf-8")
    if of.authorities is not None:
        files["authorities"] = of.authorities
    return files


def _compile_pause(layout: Layout) -> None:
    source = HERE / "pause.c"
    if layout.pause.is_file() and layout.pause.stat().st_mtime >= source.stat().st_mtime:
        return
    layout.pause.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-Os", "-static", "-s", "-Wall", "-Werror", "-o", str(layout.pause), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"pause.c does not compile: {done.stderr.strip()[-600:]}")


def _tidy(layout: Layout) -> None:
    """Remove what a build that was killed has left."""
    for scratch in layout.store.glob(f"{_SCRATCH}*"):
        shutil.rmtree(scratch)
    Store(layout.store).drop_containers()


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One build at a time in a store; a second one waits."""
    layout.store.mkdir(parents=True, exist_ok=True)
    with (layout.store / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
