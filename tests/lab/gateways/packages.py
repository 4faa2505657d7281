"""Debian's packages, unpacked into a folder: nothing is installed, configured or started on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NEEDED = ("apt-get", "dpkg-deb", "ip", "mount", "nsenter", "setpriv", "sysctl", "tar", "unshare")
LAB_PACKAGES = ("cloud-init", "iputils-ping", "libcharon-extra-plugins")
"""Beyond what the gateway's own document names; of the last one nothing but kernel-libipsec is taken."""

_LIBIPSEC = ("./usr/lib/ipsec/libipsec.so*", "./usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so")
_MERGED = ("bin", "lib", "lib64", "sbin")
_TIMEOUT_S = 300


class UnavailableError(Exception):
    """Why the lab cannot be had here, in one line."""


def unpacked(state: Path, of_gateway: Sequence[str]) -> Path:
    """A folder with the files of the packages that the gateway's document names, and of the lab's.

    Recommended packages are left out, so that the list itself has to do. What this machine has already is not fetched.

    Raises:
        UnavailableError: no root, no Debian, no packages, or namespaces and overlays are not to be had.
    """
    look_around()
    names = sorted({*of_gateway, *LAB_PACKAGES})
    archives, root = state / "archives", state / "root"
    stamp, wanted = state / "unpacked", hashlib.sha256(" ".join(names).encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return root
    for old in (root, archives):
        shutil.rmtree(old, ignore_errors=True)
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    _download(names, archives)
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for archive in sorted(archives.glob("*.deb")):
        _unpack(archive, root, _LIBIPSEC if archive.name.startswith("libcharon-extra-plugins") else ())
    stamp.write_text(wanted, encoding="utf-8")
    return root


def look_around() -> None:
    """Raises `UnavailableError` where the lab cannot be had, as far as that is known without fetching anything."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UnavailableError("namespaces and tunnels need root on Linux: sudo make test-gateways")
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        raise UnavailableError(f"{', '.join(missing)} not on PATH: packages come from Debian by apt-get")
    if not Path("/dev/net/tun").exists():
        raise UnavailableError("/dev/net/tun is not there: load the kernel's module tun")
    try:
        _run("unshare", "--net", "--mount", "--pid", "--fork", "true")
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"namespaces are not to be had: {error.stderr.strip()}") from None


def _download(names: Sequence[str], archives: Path) -> None:
    fetch = (
        *("apt-get", "install", "--yes", "--quiet", "--download-only", "--no-install-recommends"),
        *("-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"),
        *names,
    )
    try:
        _run(*fetch)
    except subprocess.CalledProcessError:
        try:
            _run("apt-get", "update", "--quiet")
            _run(*fetch)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip() or "no word").splitlines()[-1]
            raise UnavailableError(f"Debian's packages cannot be fetched: {last}") from None


def _unpack(archive: Path, root: Path, members: Sequence[str]) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as packed:
        subprocess.run(
            ["tar", "--extract", "--keep-directory-symlink", "--wildcards", "--directory", root, *members],
            stdin=packed.stdout,
            check=True,
        )


def _run(*command: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S, env=environment
    ).stdout
