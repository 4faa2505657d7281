"""What commands of the lab have found, in `report.json`: each command adds its part, and the report is drawn from it."""

import json
import platform
import time
from pathlib import Path
from typing import Any

import psutil

Values = dict[str, Any]

_GIB = 1 << 30


class Record:
    """A JSON file that is whole after every change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: Values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def begin_run(self) -> None:
        """Forget the drills of an earlier run; how long the lab took to come up stays."""
        self.values = {key: value for key, value in self.values.items() if key == "ups"}
        self.put(machine=_machine(), began=time.strftime("%Y-%m-%d %H:%M:%S"))

    def put(self, **values: Any) -> None:
        self.values |= values
        self._save()

    def figure(self, name: str, value: float | str) -> None:
        """A figure by its name, which ends with its unit: `up_s`, `memory_mb`."""
        self.values.setdefault("figures", {})[name] = value
        self._save()

    def append(self, key: str, value: Values) -> None:
        self.values.setdefault(key, []).append(value)
        self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps(self.values, indent=1) + "\n", encoding="utf-8")
        scratch.replace(self._path)


def _machine() -> Values:
    memory = psutil.virtual_memory()
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(memory.total / _GIB, 1),
        "kernel": platform.release(),
    }
