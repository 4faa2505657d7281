"""Builds metrics-server from its Go module; what is up to date is left alone."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from infra.releases import CHARTS
from tests.lab.cluster import Cluster
from tests.lab.daemons import LabError

SOURCE: Final = Path(__file__).with_name("go")
BINARY: Final = "metrics-server"
PACKAGE: Final = "sigs.k8s.io/metrics-server/cmd/metrics-server"
_VERSION: Final = "k8s.io/client-go/pkg/version"  # as its Makefile has it
_SAID_CHARACTERS = 1500


def command(output: Path) -> list[str]:
    """Without cgo, so that it runs in an image that has nothing else."""
    linker = f"-s -w -X {_VERSION}.gitVersion=v{CHARTS['metrics'].installs}"
    return ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", linker, "-o", str(output), PACKAGE]


def build(cluster: Cluster) -> None:
    """Leave the program in the cluster's `bin`.

    Raises:
        LabError: Go is missing, a module cannot be fetched, or something does not compile.
    """
    if shutil.which("go") is None:
        raise LabError("go is not on PATH; metrics-server is built with it: install Go 1.26 or newer")
    folder = cluster.layout.bin
    folder.mkdir(parents=True, exist_ok=True)
    target, record = folder / BINARY, folder / f".{BINARY}.built"
    key = _key()
    if target.is_file() and record.is_file() and record.read_text(encoding="ascii") == key:
        return
    # beside its place and then renamed: a program that runs is not written over
    part = folder / f".{BINARY}.part"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    done = subprocess.run(command(part), cwd=SOURCE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"go build {BINARY}: {done.stderr.strip()[-_SAID_CHARACTERS:]}")
    part.replace(target)
    record.write_text(key, encoding="ascii")


def _key() -> str:
    """Of all that it is made from."""
    known = hashlib.sha256(" ".join(command(Path(BINARY))).encode())
    for name in ("go.mod", "go.sum"):
        known.update((SOURCE / name).read_bytes())
    return known.hexdigest()
