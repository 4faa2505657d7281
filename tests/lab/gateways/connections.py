"""What the asking side of `flows.py` has written about its connections."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.lab.gateways.journal import Journal


@dataclass(frozen=True)
class Connections:
    """Those that one process asks by."""

    target: Path
    journal: Journal

    def go_on(self, seconds: float) -> None:
        """Wait until each connection has had ten answers more than now."""
        before = answers(self.target)
        self.journal.until(
            f"{len(before)} connections go on",
            lambda: all(now >= then + 10 for now, then in zip(answers(self.target), before, strict=True)),
            seconds,
        )


def answers(target: Path) -> list[int]:
    """How many each has had."""
    return json.loads(target.read_text(encoding="utf-8"))
