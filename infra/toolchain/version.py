"""Which Pulumi engines this project works with."""

import subprocess
from pathlib import Path

from semver import Version

from workloads.spec.errors import UserError

# The version that the project installs for itself, and the oldest that it works with. `mirror/go.mod` names it too.
ENGINE_VERSION = Version(3, 259, 0)
# Pulumi breaks its interfaces with the major version.
TOO_NEW = Version(ENGINE_VERSION.major + 1)

_VERSION_LIMIT_S = 30


def parse(text: str) -> Version:
    """The version in what `pulumi version` prints, such as `v3.259.0`. Raises `ValueError`."""
    return Version.parse(text.strip().removeprefix("v"))


def require_fitting(version: Version, executable: Path) -> None:
    """Raises `UserError` for an engine outside `ENGINE_VERSION` <= version < `TOO_NEW`."""
    if ENGINE_VERSION <= version < TOO_NEW:
        return
    change = "upgrade" if version < ENGINE_VERSION else "downgrade"
    raise UserError(
        f"pulumi {version} at {executable} does not fit: {ENGINE_VERSION} or newer is needed, below {TOO_NEW}; "
        f"{change} it, or set ISTHMUS_ENGINE=own (`make up ENGINE=own`) to let the project use an engine of its own"
    )


def version_of(executable: Path) -> Version:
    """Ask an engine which version it is. Raises `UserError` if it does not answer with one."""
    try:
        answer = subprocess.run(
            [executable, "version"], capture_output=True, text=True, check=True, timeout=_VERSION_LIMIT_S
        ).stdout
        return parse(answer)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UserError(
            f"{executable} does not say its version ({error}); repair it, or set ISTHMUS_ENGINE=own "
            "(`make up ENGINE=own`) to let the project use an engine of its own"
        ) from None
