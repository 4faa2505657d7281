"""A half of the program as a stack: the real engine, the lab's plugins, a state of its own."""

import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.operations.stack_files import tracked, with_overrides
from infra.settings import ROOT, stack_config
from infra.toolchain.engine import ensure_engine
from tests.kit.stack import ENGINE

PROGRAM = ROOT / "tests/lab/openstack_half"
STACK = "lab"
_LIMIT_S = 600

Step = dict[str, Any]


@dataclass
class Done:
    """A `pulumi` command that has ended."""

    status: int
    text: str

    def steps(self) -> list[Step]:
        """What a preview by JSON would do, or an update did, without what stays as it is."""
        return [step for step in json.loads(self.text)["steps"] if step["op"] not in {"same", "read"}]


class Half:
    """`pulumi` for the stack `lab`, with values of its tracked file and `settings` over them."""

    def __init__(
        self,
        folder: Path,
        home: Path,
        clouds: Path,
        program: Path = PROGRAM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.clouds, self.program = folder, clouds, program
        backend = folder / "backend"
        backend.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ENGINE.items():
                patch.setenv(name, value)
            self._engine = ensure_engine(folder)
        self._environment = {
            **{key: value for key, value in self._engine.env.items() if not key.startswith("OS_")},
            "PULUMI_HOME": str(home),
            "PULUMI_BACKEND_URL": backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "lab",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "NO_PROXY": "127.0.0.1",
            **(environment or {}),
        }
        self._config = folder / "config.yaml"
        # the salt of its secrets goes where the project file lies, which is not to be the tree
        (folder / "Pulumi.yaml").write_text("name: isthmus\nruntime: python\n", encoding="utf-8")
        made = self._call(folder, "stack", "init", "--no-select")
        assert made.status == 0, made.text

    def configure(self, *settings: str) -> None:
        salt = yaml.safe_load((self.folder / f"Pulumi.{STACK}.yaml").read_text(encoding="utf-8"))
        config = with_overrides(stack_config(tracked(STACK)), list(settings))
        self._config.write_text(yaml.safe_dump({**salt, "config": config}), encoding="utf-8")

    def run(self, *arguments: str, clouds: Path | None = None) -> Done:
        return self._call(self.program, *arguments, "--config-file", str(self._config), clouds=clouds)

    def preview(self) -> Done:
        return self.run("preview", "--json", "--refresh=false")

    def up(self) -> Done:
        return self.run("up", "--yes", "--skip-preview", "--refresh=false")

    def resources(self, *options: str) -> list[dict[str, Any]]:
        """Of the state."""
        exported = self._call(self.program, "stack", "export", *options)
        assert exported.status == 0, exported.text
        found: list[dict[str, Any]] = json.loads(exported.text)["deployment"].get("resources", [])
        return found

    def of_cloud(self, package: str = "openstack") -> Counter[str]:
        """How many resources of each type of a cloud there are."""
        return Counter(r["type"] for r in self.resources() if r["type"].startswith(f"{package}:"))

    def outputs(self) -> dict[str, Any]:
        shown = self._call(self.program, "stack", "output", "--json", "--show-secrets")
        assert shown.status == 0, shown.text
        values: dict[str, Any] = json.loads(shown.text)
        return values

    def secrets_of(self, urn: str) -> dict[str, Any]:
        """The secret outputs of a resource, decrypted."""
        (found,) = [r for r in self.resources("--show-secrets") if r["urn"] == urn]
        return {
            name: json.loads(value["plaintext"])
            for name, value in found["outputs"].items()
            if isinstance(value, dict) and "plaintext" in value
        }

    def _call(self, folder: Path, *arguments: str, clouds: Path | None = None) -> Done:
        command = [str(self._engine.path), "-C", str(folder), *arguments, "--stack", STACK, "--non-interactive"]
        environment = self._environment | {"OS_CLIENT_CONFIG_FILE": str(clouds or self.clouds)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
        return Done(done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr)
