"""The base: a minimal Debian of the release that the project's own base image has, made by debootstrap."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from infra.images.sources import dockerfile
from infra.settings import ROOT
from tests.kit.dockerfiles import parse
from tests.lab.daemons import LabError
from tests.lab.images import contained

_DOCKERFILE = 'FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n'
# the last two are this machine's own, and a builder brings its own
_LEFT_OUT = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "etc/resolv.conf",
    "etc/hostname",
)
# apt keeps what it downloads and its index of it, 170 MB an image, and packages bring texts that nobody reads in a container
_SETTINGS = {
    "etc/apt/apt.conf.d/90-no-cache": (
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n'
        'Dir::Cache::pkgcache "";\n'
        'Dir::Cache::srcpkgcache "";\n'
    ),
    "etc/dpkg/dpkg.cfg.d/90-no-texts": "".join(
        f"path-exclude=/usr/share/{folder}/*\n" for folder in ("doc", "info", "locale", "man")
    ),
}
_TAIL = 600


def release() -> str:
    """The code name at the end of the base that the Dockerfiles name, `python:3.12-slim-CODENAME`."""
    text = (ROOT / dockerfile("trainer")).read_text(encoding="utf-8")
    return parse(text).arguments["BASE"].rpartition("-")[2]


def key() -> str:
    return hashlib.sha256(repr((release(), _DOCKERFILE, _LEFT_OUT, _SETTINGS)).encode()).hexdigest()


def lay(folder: Path) -> str:
    """The context of the base, in `folder`; its Dockerfile is given back.

    Raises:
        LabError: the packages cannot be fetched.
    """
    rootfs = folder.parent / "rootfs"
    command = ["debootstrap", "--variant=minbase", release(), str(rootfs)]
    done = contained.run(command)
    if done.returncode:
        raise LabError(f"a base of Debian {release()} cannot be made: {done.stdout.strip()[-_TAIL:]}")
    for name in _LEFT_OUT:
        path = rootfs / name
        if path.is_dir():
            for inside in path.iterdir():
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        else:
            path.unlink(missing_ok=True)
    for name, text in _SETTINGS.items():
        (rootfs / name).write_text(text, encoding="utf-8")
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["tar", "--numeric-owner", "--directory", rootfs, "--create", "--file", folder / "rootfs.tar", "."], check=True
    )
    shutil.rmtree(rootfs)
    return _DOCKERFILE
