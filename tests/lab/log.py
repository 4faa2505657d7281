"""What the lab does and sees, line by line, in a file that can be shown."""

import threading
import time
from pathlib import Path


class Log:
    """Lines with the time of day and who said them. Any thread may say something; a later command goes on in the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._alone = threading.Lock()

    def say(self, where: str, text: str) -> None:
        now = time.strftime("%H:%M:%S")
        with self._alone:
            for line in text.rstrip().splitlines():
                self._file.write(f"{now} {where:<12} {line}\n")

    def close(self) -> None:
        self._file.close()
