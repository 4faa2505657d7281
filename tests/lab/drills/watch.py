"""How far a run's sites were when they were last seen: asked every second until whoever watches has seen enough."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.lab.daemons import LabError
from tests.lab.drills.training import Run

_PERIOD_S: Final = 1.0


@dataclass(frozen=True)
class Seen:
    """How far a site was."""

    round: int
    samples: int


@contextmanager
def watched(run: Run) -> Iterator[Mapping[str, Seen]]:
    """By site what the newest look found; one that does not train any more keeps its last."""
    seen = {site: _look(run, site) for site in run.sites}
    over = threading.Event()

    def look() -> None:
        while not over.wait(_PERIOD_S):
            for site in run.sites:
                try:
                    seen[site] = max(seen[site], _look(run, site), key=lambda each: each.samples)
                except LabError as gone:
                    run.view.say(f"{site} was not seen: {str(gone)[:200]}")

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _look(run: Run, site: str) -> Seen:
    standing = run.standing(site)
    return Seen(int(standing.get("round", 0)), run.samples(site, standing))
