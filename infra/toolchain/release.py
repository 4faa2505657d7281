"""The official release of the Pulumi engine: found for this machine, checked, unpacked."""

import hashlib
import http.client
import platform
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from semver import Version

from infra.toolchain.progress import stage
from workloads.spec.errors import UserError

SOURCES = (
    "https://get.pulumi.com/releases/sdk",
    "https://github.com/pulumi/pulumi/releases/download/v{version}",
)
# Where the network is closed, the next way should be tried soon.
CONNECT_LIMIT_S = 5.0

_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_CHUNK_BYTES = 1 << 20
_MEGABYTE = 1e6
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


class UnavailableError(Exception):
    """One way to get something is closed; the text says why. Another way may be open."""


def archive_name(version: Version, system: str = sys.platform, machine: str | None = None) -> str:
    """File name of the release for an operating system and processor. Raises `UnavailableError` if there is none."""
    architecture = _ARCHITECTURES.get((machine or platform.machine()).lower())
    if system not in {"linux", "darwin"} or architecture is None:
        raise UnavailableError(f"no official release for {system} on {machine or platform.machine()}")
    return f"pulumi-v{version}-{system}-{architecture}.tar.gz"


def install(version: Version, into: Path, console: Console, sources: Sequence[str] = SOURCES) -> None:
    """Put the release's executables into the folder `into`, which must not exist.

    Raises:
        UnavailableError: no source can be reached, or none has this release.
        UserError: an archive is not the one that the release's checksums name.
    """
    name = archive_name(version)
    reasons = []
    for source in sources:
        base = source.format(version=version)
        try:
            _install_from(base, name, version, into, console)
        except UnavailableError as error:
            reasons.append(f"{base}: {error}")
        else:
            return
    raise UnavailableError("; ".join(reasons))


def _install_from(base: str, name: str, version: Version, into: Path, console: Console) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".release-") as folder:
        checksums, archive = Path(folder, "checksums"), Path(folder, name)
        _download(f"{base}/pulumi-{version}-checksums.txt", checksums, lambda _: None)
        expected = _checksum(checksums.read_text(encoding="utf-8"), name)
        with stage(console, f"fetching Pulumi {version}") as tell:
            actual = _download(f"{base}/{name}", archive, tell)
        if actual != expected:
            raise UserError(
                f"{base}/{name} has SHA-256 {actual}, its release says {expected}; it was not installed: "
                "try again, and if it stays so, ask whoever runs the network what changes downloads"
            )
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        shutil.move(Path(folder, "pulumi"), into)


def _checksum(checksums: str, name: str) -> str:
    """The SHA-256 that a checksums file (lines of `HASH  NAME`) has for a name."""
    for line in checksums.splitlines():
        digest, _, file = line.partition(" ")
        if file.strip().removeprefix("*") == name:
            return digest.lower()
    raise UnavailableError(f"the release's checksums do not name {name}")


def _download(url: str, path: Path, tell: Callable[[str], None]) -> str:
    """Fetch a file and return its SHA-256, in hex."""
    digest, done = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_LIMIT_S) as answer, path.open("wb") as file:  # noqa: S310 - SOURCES are https
            size = int(answer.headers.get("content-length") or 0)
            while chunk := answer.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                tell(f"{done / _MEGABYTE:.0f} of {size / _MEGABYTE:.0f} MB")
    except urllib.error.HTTPError as error:
        error.close()
        raise UnavailableError(f"HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise UnavailableError(getattr(error.reason, "strerror", None) or str(error.reason)) from None
    except _NETWORK_ERRORS as error:
        raise UnavailableError(str(error) or type(error).__name__) from None
    if done < size:
        raise UnavailableError(f"the connection ended after {done} of {size} bytes")
    return digest.hexdigest()
