"""Programs from Go modules that are locked here; what is up to date is left alone."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.daemons import LabError

_SAID_CHARACTERS = 1500
# without cgo a program runs on nodes and in empty images alike
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


@dataclass(frozen=True)
class Program:
    """A main package of the Go module in `folder`, by the name that its binary gets."""

    name: str
    folder: Path
    package: str = "."
    stamps: Mapping[str, str] = field(default_factory=dict)  # variables that the linker sets
    tags: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `go build`, but for the output and the package."""
        linker = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in sorted(self.stamps.items()))])
        tags = ("-tags", ",".join(self.tags)) if self.tags else ()
        return ("-mod=readonly", "-trimpath", "-buildvcs=false", *tags, "-ldflags", linker)

    def digest(self) -> str:
        """Of all that it is made from: whatever lies in the module's folder, and how it is built."""
        known = hashlib.sha256(json.dumps([self.flags, self.package]).encode())
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            known.update(f"{path.relative_to(self.folder)}\0".encode() + path.read_bytes())
        return known.hexdigest()


def is_current(program: Program, into: Path) -> bool:
    """Whether the folder has it as it would be built now."""
    record = _record(program, into)
    return (into / program.name).is_file() and record.is_file() and record.read_text("ascii") == program.digest()


def compiled(program: Program, into: Path) -> bool:
    """See to it that the folder has it; whether it had to be built.

    Raises:
        LabError: Go is missing, a module cannot be fetched, or something does not compile, in Go's own words.
    """
    if is_current(program, into):
        return False
    into.mkdir(parents=True, exist_ok=True)
    # beside its place and then renamed: a program that runs is not written over
    part = into / f".{program.name}.part"
    go(["build", *program.flags, "-o", str(part), program.package], program.folder)
    part.replace(into / program.name)
    _record(program, into).write_text(program.digest(), encoding="ascii")
    return True


def go(arguments: list[str], folder: Path) -> str:
    """What Go prints to a command, given in the module of `folder`. Raises `LabError` with the end of its errors."""
    if shutil.which("go") is None:
        raise LabError("go is not on PATH; the lab's programs are built with it: install Go 1.26 or newer")
    return said(["go", *arguments], folder)


def said(command: list[str], folder: Path, text: str = "") -> str:
    """What a command prints that reads `text`. Raises `LabError` with the end of its errors."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=text,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        what = " ".join([Path(command[0]).name, *command[1:2]])
        raise LabError(f"{what} in {folder.name}: {done.stderr.strip()[-_SAID_CHARACTERS:]}")
    return done.stdout


def _record(program: Program, into: Path) -> Path:
    return into / f".{program.name}.built"
