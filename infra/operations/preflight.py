"""Everything that can be known to be wrong before anything is started or changed."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import yaml

from infra.local.handlers.site import WORKING_BYTES
from infra.local.ports import PortPlan, in_use
from infra.local.supervision import listening_ports
from infra.operations.recovery import require_key
from infra.settings import Settings
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError
from workloads.spec.recipe import load_recipe

PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 - the name of a variable
PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE_FILE"  # noqa: S105


def check(settings: Settings, root: Path) -> None:
    """Raises `UserError` for the first thing that would fail later: recipe, a recovery's key, disk, ports."""
    load_recipe(settings.training.recipe, settings.training.overrides)
    if settings.cloud is not None:
        require_key(settings)
    if settings.local is None:
        return
    folder = root / settings.local.folder
    ensure_room(next(path for path in (folder, *folder.parents) if path.exists()), WORKING_BYTES, "the platform")
    _check_ports(settings, folder)


def passphrase(settings: Settings, stack: str, state: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that open the stack's secrets.

    A stack of local sites gets a passphrase of its own, drawn once into a file that only its owner can read. For any
    other stack the secret is the user's to keep.

    Raises:
        UserError: none is given and none may be drawn.
    """
    given = {key: environment[key] for key in (PASSPHRASE, PASSPHRASE_FILE) if environment.get(key)}
    if given:
        return given
    file = state / f"passphrase-{stack}"
    if file.is_file():
        return {PASSPHRASE_FILE: str(file)}
    made_before = (state / "backend" / ".pulumi" / "stacks" / "isthmus" / f"{stack}.json").is_file()
    if made_before or any(site.kind != "local" for site in settings.sites):
        why = f"{file.name} is gone and the stack's secrets need it" if made_before else f"stack {stack} is not local"
        raise UserError(f"the passphrase is missing: {why}; set {PASSPHRASE} or {PASSPHRASE_FILE}")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as handle:
        handle.write(secrets.token_urlsafe(32))
    return {PASSPHRASE_FILE: str(file)}


def clouds_in(file: Path) -> list[str]:
    """Names of the clouds in a `clouds.yaml`, none where it is not one."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return []
    clouds = found.get("clouds") if isinstance(found, dict) else None
    return sorted(map(str, clouds)) if isinstance(clouds, dict) else []


def _check_ports(settings: Settings, folder: Path) -> None:
    """Ports of services that run are theirs; any other listener is a stranger."""
    assert settings.local is not None  # noqa: S101 - the caller looked
    plan = PortPlan.of(settings)
    ours = {port for service in (folder / "services").glob("*") for port in listening_ports(service)}
    for name, endpoint in plan.named().items():
        if endpoint.port not in ours and in_use(endpoint):
            raise UserError(
                f"port {endpoint.port}, for {name}, is in use by another program; stop that one, or set "
                f"isthmus:local.base_port (now {settings.local.base_port})"
            )
