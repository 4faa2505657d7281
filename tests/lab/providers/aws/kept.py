"""Objects that no emulator has, as documents of a folder, so that they come, change and go like the others."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.settings import ROOT
from tests.lab.aws.layout import Layout
from tests.lab.providers.contract import Values

FOLDER = "ISTHMUS_LAB_AWS"
"""Environment variable: another root of the emulators than the project's."""


def folder() -> Path:
    return Layout(Path(os.environ.get(FOLDER) or ROOT / ".state/lab/aws")).kept


def put(kind: str, identity: str, values: Values) -> None:
    path = _path(kind, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(values, sort_keys=True), encoding="utf-8")
    aside.replace(path)


def get(kind: str, identity: str) -> Values | None:
    """None: nobody has put it there, or the emulators were started anew since."""
    with suppress(FileNotFoundError):
        kept: Values = json.loads(_path(kind, identity).read_text(encoding="utf-8"))
        return kept
    return None


def drop(kind: str, identity: str) -> None:
    _path(kind, identity).unlink(missing_ok=True)


def everything() -> dict[str, list[Any]]:
    """What is kept, by kind."""
    kinds = sorted(path for path in folder().glob("*") if path.is_dir())
    return {
        kind.name: [json.loads(path.read_text(encoding="utf-8")) for path in sorted(kind.glob("*.json"))]
        for kind in kinds
    }


def _path(kind: str, identity: str) -> Path:
    """An identity may be an ARN, with characters that no file name has."""
    return folder() / kind / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"
