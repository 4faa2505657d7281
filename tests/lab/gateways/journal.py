"""What the lab does and sees, line by line, in a file that can be shown."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_PAUSE_S = 0.1
Found = TypeVar("Found")


class Journal:
    """Lines with the seconds since its beginning."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._begin = time.monotonic()

    def say(self, where: str, text: str) -> None:
        for line in text.strip().splitlines():
            self._file.write(f"{time.monotonic() - self._begin:7.2f} {where:<13} {line}\n")

    def close(self) -> None:
        self._file.close()

    def until(self, what: str, look: Callable[[], Found], seconds: float) -> Found:
        """What `look` finds, as soon as it finds something. Raises `AssertionError` after `seconds`."""
        begin = time.monotonic()
        while not (found := look()):
            if time.monotonic() - begin > seconds:
                raise AssertionError(f"{what}: not within {seconds} s")
            time.sleep(_PAUSE_S)
        self.say("lab", f"{what}: after {time.monotonic() - begin:.1f} s")
        return found
