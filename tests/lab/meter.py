"""What the lab takes of the machine: memory at its peak, disk."""

import subprocess
import threading
from pathlib import Path
from typing import Final, Self

import psutil

_PERIOD_S: Final = 2.0
_MB: Final = 1_000_000


class Meter:
    """Samples the machine's memory in use until it is left. Whatever else runs on the machine is counted too."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="meter", daemon=True)
        self.before_mb = _used_mb()
        self.peak_mb = self.before_mb

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(_PERIOD_S):
            self.peak_mb = max(self.peak_mb, _used_mb())


def folder_mb(folder: Path) -> float:
    """What a folder takes on its disk, megabytes; what goes meanwhile is left out."""
    command = ["du", "--summarize", "--block-size=1", "--one-file-system", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # it complains of files that go
    return int(done.stdout.split()[0]) / _MB if done.stdout else 0.0


def _used_mb() -> float:
    memory = psutil.virtual_memory()
    return (memory.total - memory.available) / _MB
