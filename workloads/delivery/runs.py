"""What the sites of one run leave for each other and for what comes after, in the store that they share.

`runs/RUN/SITE.json` is a site's summary, `runs/RUN/trained/…` the model and `runs/RUN/result.json`, written last, what
came of it all.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from workloads.delivery.depot import SECONDS_BETWEEN_LINES, Depot, F, Say
from workloads.spec.artifact import RESULT, RunResult
from workloads.spec.base import Frozen
from workloads.spec.delivery import CollectLaunch, Store
from workloads.spec.errors import UserError
from workloads.trainer.finished import TRAINED


class SharedRun:
    """A run in the shared store. Methods raise `UserError` where it cannot be reached."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._depot = Depot(store)
        self._folder = f"runs/{run_id}"

    def told(self, site: str) -> bytes | None:
        """The summary that a site has left."""
        return self._depot.read(self._summary(site))

    def tell(self, site: str, summary: Frozen) -> None:
        """Leave a site's summary."""
        self._depot.save(summary, self._summary(site))

    def load(self, kind: type[F], name: str) -> F | None:
        """A value of the run's output; what belongs to the model is there before the result."""
        return self._depot.load(kind, f"{self._folder}/{name}")

    def take_back(self, site: str) -> None:
        """Remove a site's summary: it goes on training."""
        self._depot.remove(self._summary(site))

    def deliver(self, output: Path) -> None:
        """Put a run's output there, its result last."""
        self._depot.remove(f"{self._folder}/{RESULT}")  # it speaks of a model that goes
        self._depot.deliver(output / TRAINED, f"{self._folder}/{TRAINED}")
        self._depot.save(RunResult.load(output / RESULT), f"{self._folder}/{RESULT}")

    def collect(self, output: Path) -> bool:
        """A run's output as a folder of this machine, its result last; whether there is a result."""
        result = self.load(RunResult, RESULT)
        if result is None or not self._depot.collect(f"{self._folder}/{TRAINED}", output / TRAINED):
            return False
        result.save(output / RESULT)
        return True

    def _summary(self, site: str) -> str:
        return f"{self._folder}/{site}.json"


def collect(launch: CollectLaunch, say: Say, wait: Callable[[float], None] = time.sleep) -> RunResult:
    """The output of a finished run in `launch.folder`.

    Raises:
        UserError: the run is not finished or the store cannot be reached, and the launch does not say to wait.
    """
    shutil.rmtree(launch.folder, ignore_errors=True)
    silent_s = SECONDS_BETWEEN_LINES
    while True:
        found = _found(launch)
        if isinstance(found, RunResult):
            return found
        if launch.poll_s is None:
            raise UserError(found)
        if silent_s >= SECONDS_BETWEEN_LINES:
            say(f"waiting: {found}")
            silent_s = 0.0
        wait(launch.poll_s)
        silent_s += launch.poll_s


def _found(launch: CollectLaunch) -> RunResult | str:
    """The result, or why there is none."""
    try:
        if SharedRun(launch.store, launch.run_id).collect(launch.folder):
            return RunResult.load(launch.folder / RESULT)
    except UserError as error:
        return str(error)
    return f"{launch.store.address} has no result of run {launch.run_id}; train it to the end first"
