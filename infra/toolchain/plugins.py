"""Pulumi's provider plugins for the clouds, fetched only when a stack needs them."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from semver import Version

from infra.toolchain.engine import Engine
from workloads.spec.errors import UserError

OVERRIDES = "PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES"
ARCHIVES = "ISTHMUS_PLUGINS"

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_OVERRIDE = re.compile(r"[^=,]+=[^=,]+")
_INSTALL_LIMIT_S = 900


@dataclass(frozen=True)
class Plugin:
    """A provider's plugin: the executable behind a Pulumi SDK, of the SDK's very version."""

    name: str
    version: Version

    @property
    def archive(self) -> str:
        """What Pulumi's own hosts and mirrors call its archive for this machine."""
        machine = platform.machine().lower()
        return (
            f"pulumi-resource-{self.name}-v{self.version}-{sys.platform}-{_ARCHITECTURES.get(machine, machine)}.tar.gz"
        )

    def is_installed(self, home: Path) -> bool:
        """Whether it lies under a PULUMI_HOME, whole: the engine marks one that it is still at work on."""
        folder = home / "plugins" / f"resource-{self.name}-v{self.version}"
        return (folder / f"pulumi-resource-{self.name}").is_file() and not folder.with_name(
            f"{folder.name}.partial"
        ).exists()

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


def required(names: Iterable[str]) -> tuple[Plugin, ...]:
    """The plugins that provider names such as `aws` stand for, from the SDKs that are installed.

    Raises:
        UserError: a provider's SDK is not installed.
    """
    return tuple(_of_sdk(name) for name in sorted(set(names)))


def ensure_plugins(engine: Engine, names: Iterable[str], file: Path | None = None) -> None:
    """Install what is missing: from `file`, an archive or a folder of archives, else by the engine over the network.

    Without `file` the environment's `ISTHMUS_PLUGINS` names it, if it is set.

    Raises:
        UserError: a plugin could not be had, with every way that was tried and what to do.
    """
    missing = [plugin for plugin in required(names) if not plugin.is_installed(engine.home)]
    if not missing:
        return
    _check_overrides(engine.env.get(OVERRIDES, ""))
    if file is None and (given := os.environ.get(ARCHIVES)):
        file = Path(given)
    for plugin in missing:
        _install(engine, plugin, _archive(file, plugin))


def _of_sdk(name: str) -> Plugin:
    spec = find_spec(f"pulumi_{name.replace('-', '_')}")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"provider {name!r} has no SDK here; add pulumi-{name} to the project's extra `infra`")
    path = Path(spec.submodule_search_locations[0], "pulumi-plugin.json")
    return Plugin(name, Version.parse(json.loads(path.read_text(encoding="utf-8"))["version"].removeprefix("v")))


def _check_overrides(value: str) -> None:
    """A value that the engine cannot read makes it panic, with all its goroutines, whatever it is asked."""
    if value and not all(_OVERRIDE.fullmatch(pair) for pair in value.split(",")):
        raise UserError(f"{OVERRIDES} is {value!r}; it must be REGEXP=URL, several separated by commas")


def _archive(file: Path | None, plugin: Plugin) -> Path | None:
    if file is None or (file.is_file() and file.name == plugin.archive):
        return file
    if (file / plugin.archive).is_file():
        return file / plugin.archive
    raise UserError(
        f"{file} is not the archive of plugin {plugin}; give {plugin.archive}, or the folder that it lies in"
    )


def _install(engine: Engine, plugin: Plugin, archive: Path | None) -> None:
    command = [str(engine.path), "plugin", "install", "resource", plugin.name, str(plugin.version), "--non-interactive"]
    if archive is not None:
        command += ["--file", str(archive)]
    try:
        done = subprocess.run(
            command, env=dict(engine.env), capture_output=True, text=True, check=False, timeout=_INSTALL_LIMIT_S
        )
        said, failed = done.stderr, done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"not finished after {_INSTALL_LIMIT_S} s", True
    if failed or not plugin.is_installed(engine.home):
        raise UserError(_explain(plugin, archive, engine.env.get(OVERRIDES, ""), said))


def _explain(plugin: Plugin, archive: Path | None, overrides: str, said: str) -> str:
    reason = _reason(said)
    if archive is not None:
        return f"plugin {plugin} could not be installed from {archive}: {reason}; fetch the archive again"
    source = f"the mirror of {OVERRIDES}={overrides}" if overrides else "Pulumi's hosts"
    return (
        f"plugin {plugin} is not installed and could not be fetched from {source}: {reason}. Allow that host, or set "
        f"{OVERRIDES} to a mirror (REGEXP=URL), or fetch {plugin.archive} elsewhere and set {ARCHIVES} to its path"
    )


def _reason(said: str) -> str:
    """The cause in the engine's words: what the last attempt met, which its last line does not say."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    attempts = [line for line in lines if "Error downloading plugin" in line]
    line = (attempts or lines or ["the engine did not say why"])[-1]
    return re.sub(r"^(warning|error): (Error downloading plugin: )?", "", line)[:300]
