"""Stand-in plugins in Python: where the engine finds them, and what they may speak with.

A stand-in is a package `tests.lab.providers.NAME` that is run as a module. It takes the place of an official plugin in
the lab's own PULUMI_HOME and in no other.
"""

import ipaddress
import json
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from infra.settings import ROOT
from tests.lab.providers.bridge import sdk_version
from workloads.spec.errors import UserError

MARK = "stand-in"
"""A file beside the executable that says whose it is: a plugin without it is official."""

LINK = "isthmus-lab"
"""The device by which this machine reaches the lab's namespaces; nothing of the world lies behind it."""


def install(name: str, plugins: Path, *module: str) -> Path:
    """The folder of the plugin `name` below a PULUMI_HOME's `plugins`: a stand-in, unless an official one is there.

    `module` is another one than `tests.lab.providers.NAME`, with its first arguments.

    Raises:
        LabError: the provider's SDK is not installed, so that nobody knows which version the engine will ask for.
    """
    target = plugins / f"resource-{name}-v{sdk_version(name)}"
    executable, mark = target / f"pulumi-resource-{name}", target / MARK
    if executable.exists() and not mark.exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    chosen = module or (f"tests.lab.providers.{name}",)
    mark.write_text(f"{' '.join(chosen)}\n", encoding="utf-8")
    aside = target / "launcher.new"
    aside.write_text(_launcher(*chosen), encoding="utf-8")
    aside.chmod(0o755)
    aside.replace(executable)  # whole at once: an engine may be about to start it
    return target


def is_standin(name: str, plugins: Path) -> bool:
    """Whether the plugin that the engine would start is one of the lab's own."""
    return (plugins / f"resource-{name}-v{sdk_version(name)}" / MARK).exists()


def require_lab(url: str, what: str) -> None:
    """Let an address pass that is on this machine's loopback or in the lab's namespaces.

    Names are not looked up: who may change what a name stands for could lead a stand-in anywhere.

    Raises:
        UserError: it is anywhere else, or no address.
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UserError(f"{what} {url!r} names no address; a stand-in takes numbers alone, such as 127.0.0.1") from None
    if not address.is_loopback and _device(str(address)) != LINK:
        raise UserError(
            f"{what} {url} is neither on this machine's loopback nor reached by {LINK}; a stand-in speaks with the lab "
            "alone, so install the official plugin for anything else"
        )


def _device(address: str) -> str | None:
    """The network device by which packets to an address would leave; None where there is no way."""
    command = ["ip", "-json", "route", "get", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"ip is not there to tell the way to {address}; install iproute2") from None
    if asked.returncode:
        return None
    (route,) = json.loads(asked.stdout)
    return str(route["dev"])


def _launcher(*module: str) -> str:
    # -P: the engine starts it in the program's folder, whose modules are none of the stand-in's
    command = [sys.executable, "-P", "-W", "ignore", "-m", *module]
    return f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.join(command)} "$@"\n'
