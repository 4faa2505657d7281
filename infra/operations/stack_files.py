"""Stack files: the tracked one in `stacks/` holds values, the one the engine uses is made from it under the state folder.

The engine writes an encryption salt into the file that it uses, and a command may ask for another recipe; neither
belongs in a tracked file.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.settings import PROJECT, ROOT, Settings
from workloads.spec.errors import UserError


def tracked(stack: str) -> Path:
    """The file in `stacks/` for a stack's name."""
    return ROOT / "stacks" / f"Pulumi.{stack}.yaml"


def with_overrides(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Config with `PATH=VALUE` settings applied: `training.recipe=language`, `links.0.rate=20 Mbit/s`.

    Raises:
        UserError: an override has no `=`, or its path leads nowhere.
    """
    config = json.loads(json.dumps(config))
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.split(".")
        if not equals or not all(keys):
            raise UserError(f"setting {override!r} is not PATH=VALUE, such as training.recipe=language")
        _put(config, [f"{PROJECT}:{keys[0]}", *keys[1:]], yaml.safe_load(text), path)
    return config


@dataclass(frozen=True)
class EngineFiles:
    """What the engine works with for one stack: `.state/stacks/NAME/`."""

    folder: Path
    stack: str

    @property
    def config(self) -> Path:
        """The stack file of a run: tracked values, overrides and the salt."""
        return self.folder / "config.yaml"

    @property
    def salt(self) -> Path:
        """Where `stack init`, run in `folder`, puts the encryption salt."""
        return self.folder / f"Pulumi.{self.stack}.yaml"

    def write_project(self) -> None:
        """A project file, so that `stack init` can be run here and not beside the tracked files."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n", encoding="utf-8")

    def write_salt(self, exported: dict[str, Any]) -> None:
        """What `stack init` would have written, from the state of a stack that is there.

        Raises:
            UserError: its secrets are not kept by a passphrase.
        """
        keeper = exported.get("deployment", {}).get("secrets_providers") or {}
        salt = (keeper.get("state") or {}).get("salt")
        if not salt:
            kind = keeper.get("type", "nobody")
            raise UserError(
                f"secrets of stack {self.stack} are kept by {kind}, limit a passphrase; change-secrets-provider"
            )
        self.salt.write_text(yaml.safe_dump({"encryptionsalt": salt}), encoding="utf-8")

    def write_config(self, config: dict[str, Any]) -> None:
        """Raises `FileNotFoundError` before `stack init` was run."""
        salt = yaml.safe_load(self.salt.read_text(encoding="utf-8"))
        self.config.write_text(yaml.safe_dump({**salt, "config": config}, sort_keys=False), encoding="utf-8")


def settings_of(config: dict[str, Any], stack: str) -> Settings:
    """Settings as the program will see them. Raises `UserError`."""
    return Settings.from_engine(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}, stack
    )


def _put(target: Any, keys: list[str], value: Any, path: str) -> None:
    *parents, last = keys
    for key in parents:
        target = _step(target, key, path)
    if isinstance(target, list):
        _step(target, last, path)
        target[int(last)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise UserError(f"setting {path!r} leads into {target!r:.40}, which has no parts")


def _step(target: Any, key: str, path: str) -> Any:
    if isinstance(target, list) and key.isdigit() and int(key) < len(target):
        return target[int(key)]
    if isinstance(target, dict):
        return target.setdefault(key, {})
    raise UserError(f"setting {path!r} leads nowhere at {key!r}; there is {target!r:.60}")
