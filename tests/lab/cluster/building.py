"""The programs of the cluster, built from their locked modules; what is up to date is left alone."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.wan import link
from tests.lab.cluster.layout import Layout
from tests.lab.daemons import LabError

KUBERNETES: Final = "1.34.4"  # of `go/kube/go.mod`, to be said by `kubectl version`
ROLES: Final = (
    *("etcd", "gpu-plugin", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"),
    *("kubectl", "kubelet"),
)
"""Names under which `kube` is each of its parts."""
_SOURCES = Path(__file__).with_name("go")
_SAID_CHARACTERS = 1500


@dataclass(frozen=True)
class Program:
    """A main package of a module of its own."""

    name: str
    variables: tuple[tuple[str, str], ...] = ()  # of packages, set by the linker

    @property
    def source(self) -> Path:
        return _SOURCES / self.name

    def command(self, output: Path) -> list[str]:
        """Without cgo, so that it runs on nodes and in images alike."""
        set_to = [f"-X {path}={value}" for path, value in self.variables]
        return [
            "go",
            "build",
            "-mod=readonly",
            "-trimpath",
            "-ldflags",
            " ".join(["-s", "-w", *set_to]),
            "-o",
            str(output),
            ".",
        ]

    def digest(self) -> str:
        """Of all that it is made from."""
        known = hashlib.sha256(" ".join(self.command(Path(self.name))).encode())
        for path in sorted(self.source.iterdir()):
            known.update(path.name.encode() + path.read_bytes())
        return known.hexdigest()


def _version() -> Iterator[tuple[str, str]]:
    major, minor, _ = KUBERNETES.split(".")
    package = "k8s.io/component-base/version"
    yield f"{package}.gitVersion", f"v{KUBERNETES}"
    yield f"{package}.gitMajor", major
    yield f"{package}.gitMinor", minor
    yield f"{package}.gitTreeState", "clean"


PROGRAMS: Final = (Program("kube", tuple(_version())), Program("coredns"))


def build(layout: Layout) -> None:
    """All of them, and the link's emulator. Raises `LabError`."""
    layout.bin.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        if not is_current(layout, program):
            compile_program(layout, program)
    for role in ROLES:
        path = layout.bin / role
        if not path.is_symlink():
            path.symlink_to("kube")
    link.build(layout.bin)


def is_current(layout: Layout, program: Program) -> bool:
    stamp = _stamp(layout, program)
    there = (layout.bin / program.name).exists() and stamp.exists()
    return there and stamp.read_text(encoding="ascii") == program.digest()


def compile_program(layout: Layout, program: Program) -> None:
    """Raises `LabError` with what the compiler said last."""
    if shutil.which("go") is None:
        raise LabError(f"{program.name} is built from Go modules, and go is not on PATH; install Go 1.26 or later")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    output = layout.bin / f"{program.name}.new"
    done = subprocess.run(
        program.command(output), cwd=program.source, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"go build {program.name}: {done.stderr.strip()[-_SAID_CHARACTERS:]}")
    output.replace(layout.bin / program.name)
    _stamp(layout, program).write_text(program.digest(), encoding="ascii")


def _stamp(layout: Layout, program: Program) -> Path:
    return layout.bin / f".{program.name}.built"
