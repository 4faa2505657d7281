"""What the machine must have, and Debian's packages that nodes are made of."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.lab.daemons import LabError

# what each is needed for, by a file that it brings
NEEDED: Final = {
    "containerd": "/usr/bin/containerd",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "nftables": "/usr/sbin/nft",
    "procps": "/usr/sbin/sysctl",
    "runc": "/usr/sbin/runc",
}
_TIMEOUT_S = 600


def ensure_possible() -> None:
    """Raises `LabError` where no cluster can be had, as far as that is known without fetching anything."""
    if os.geteuid() != 0:
        raise LabError("the cluster needs network namespaces, mounts and cgroups, which only root has; run it as root")
    for tool in ("cc", "ip", "mount", "nsenter", "sysctl", "unshare"):
        if shutil.which(tool) is None:
            raise LabError(f"{tool} is not on PATH; install a C compiler, iproute2, procps and util-linux")
    if not Path("/dev/net/tun").exists():
        raise LabError("/dev/net/tun is missing, which the link is made of; load the kernel's module tun")


def missing(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """Packages whose files are not here."""
    return [name for name, path in needed.items() if not os.access(path, os.X_OK)]


def install(needed: Mapping[str, str] = NEEDED) -> None:
    """Those that are missing, and nothing that is only recommended. Raises `LabError`."""
    names = missing(needed)
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"{', '.join(names)} are missing and apt-get is not on PATH; install them, or use Debian")
    fetch = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *names)
    if said := _run(*fetch):
        _run("apt-get", "update", "--quiet")  # the lists may be old
        said = _run(*fetch)
    if said or missing(needed):
        raise LabError(f"apt-get install {' '.join(names)}: {said or 'the files are not where they belong'}")


def _run(*command: str) -> str:
    """The last line of what it complained about; empty if it did well."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, env=environment)
    return (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1] if done.returncode else ""
