"""A training run in MLflow: one run for all sites, with what was planned and what every site tells.

Events wait in a buffer and are sent by a thread of its own. A server that is away costs training nothing: what the
buffer cannot hold is counted and left to `events.jsonl`, which has everything.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import JsonValue

from workloads.registry.__main__ import CLIENT_ENVIRONMENT
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.launch import LaunchSpec, SiteLaunch

if TYPE_CHECKING:
    from workloads.trainer.watching.tracked_run import Told, TrackedRun

# A step costs MLflow's store 2 ms of processor time, and a small model makes a thousand steps a second.
SECONDS_BETWEEN_STEPS = 1.0
CAPACITY = 20_000  # events, a few MB

_EVENTS_A_REQUEST = 150  # a request may hold 1,000 metrics; a step has up to 6, a round a few more
_SECONDS_BETWEEN_SENDS = 1.0
_RETRY_S = 5.0
_CLOSE_LIMIT_S = 15.0
_LONGEST_REASON = 160  # characters
_ENVIRONMENT = {**CLIENT_ENVIRONMENT, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class Tracking:
    """A hook that tells MLflow at `address`, an http(s) URL or `sqlite:///FILE`, what happens at `site`.

    `say` is told once, by the thread that calls the hook, that the server is away, and when the run ends how many
    events it was not told. Nothing that tracking meets is raised.
    """

    def __init__(
        self, launch: LaunchSpec, site: SiteLaunch, address: str, say: Callable[[str], None], capacity: int = CAPACITY
    ) -> None:
        self._launch = launch
        self._site = site
        self._address = address
        self._public = _without_login(address)
        self._say = say
        self._capacity = capacity
        self._waiting: deque[Told] = deque()  # the hook appends, the sender takes from the left
        self._lost = 0  # had no room; the hook's
        self._refused = 0  # the server wants them never; the sender's
        self._step = 0  # made so far
        self._kept_step_t = 0.0
        self._trouble: str | None = None
        self._told = False
        self._finished = False
        self._closing = threading.Event()
        os.environ.update(_ENVIRONMENT)  # MLflow reads it when it is imported, which takes seconds: the sender does it
        self._sender = threading.Thread(target=self._send_all, name="tracking", daemon=True)
        self._sender.start()

    def round_started(self, number: int) -> None:
        """A chance to tell of trouble."""
        del number
        self._tell()

    def step(self, event: StepEvent) -> None:
        """Keep the step, if the last one that was kept is `SECONDS_BETWEEN_STEPS` old."""
        self._step = event.step
        if event.t - self._kept_step_t >= SECONDS_BETWEEN_STEPS:
            self._kept_step_t = event.t
            self._keep(event)

    def round_committed(self, event: RoundEvent) -> None:
        """Keep the round."""
        self._finished = event.round == event.rounds
        self._keep(event)
        self._tell()

    def note(self, event: NoteEvent) -> None:
        """Keep the note."""
        self._keep(event)

    def close(self) -> None:
        """Send what is left, for at most `_CLOSE_LIMIT_S` seconds, and say what was not. A second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._sender.join(_CLOSE_LIMIT_S)
        self._tell()
        missing = self._lost + self._refused + len(self._waiting)
        if missing:
            self._say(f"tracking: {missing} events were not told to {self._public}; events.jsonl has them")

    @property
    def waiting(self) -> int:
        """Events that MLflow was not told yet."""
        return len(self._waiting)

    def _keep(self, event: StepEvent | RoundEvent | NoteEvent) -> None:
        if len(self._waiting) < self._capacity:
            self._waiting.append((event, self._step))
        else:
            self._lost += 1

    def _tell(self) -> None:
        if self._trouble is not None and not self._told:
            self._told = True
            self._say(self._trouble)

    def _send_all(self) -> None:
        run: TrackedRun | None = None
        pause_s = 0.0
        while True:
            last = self._closing.wait(pause_s)
            try:
                run = run or self._open()
                if run is not None:
                    self._send_waiting(run)
                    if last:
                        run.end(finished=self._finished)
                pause_s = _SECONDS_BETWEEN_SENDS
            except Exception as error:  # noqa: BLE001 - a library's every fault stops here, and training goes on
                pause_s = _RETRY_S
                self._trouble = (
                    f"tracking at {self._public} does not work ({self._words(error)}); training goes on, "
                    f"{self._capacity} events wait for it"
                )
            if last:
                return

    def _words(self, error: Exception) -> str:
        """What a library says, in short; addresses that it quotes lose their login as well."""
        login = urlsplit(self._address).netloc.rpartition("@")[0]
        said = str(error).replace(f"{login}@", "") if login else str(error)
        return (" ".join(said.split()) or type(error).__name__)[:_LONGEST_REASON]

    def _open(self) -> "TrackedRun | None":
        from workloads.trainer.watching.tracked_run import open_run  # noqa: PLC0415 - imports MLflow

        return open_run(
            self._address,
            experiment=self._launch.recipe.name,
            run_id=self._launch.run_id,
            settings=settings(self._launch),
            makes=self._site.name == self._launch.sites[0].name,
        )

    def _send_waiting(self, run: "TrackedRun") -> None:
        while self._waiting:
            batch = list(islice(self._waiting, min(_EVENTS_A_REQUEST, len(self._waiting))))
            if not run.send(batch):
                self._refused += len(batch)
                self._trouble = f"tracking at {self._public} refuses what it is told; training goes on"
            for _ in batch:
                self._waiting.popleft()


def settings(launch: LaunchSpec) -> dict[str, JsonValue]:
    """What a run is made of, as MLflow's parameters: recipe, plan, sites and link. Long lists are told by their ends."""
    plan = launch.plan.model_dump(mode="json", exclude={"rounds", "reasons"})
    first, last = launch.plan.rounds[0], launch.plan.rounds[-1]
    outer: JsonValue = {key: [getattr(first, key), getattr(last, key)] for key in ("steps", "lr", "momentum")}
    return {
        "recipe": launch.recipe.model_dump(mode="json"),
        "plan": {**plan, "rounds": len(launch.plan.rounds), "round_first_last": outer},
        "sites": ", ".join(site.name for site in launch.sites),
        "data": {site.name: site.data_digest for site in launch.sites if site.data_digest is not None},
        "link": launch.link.model_dump(mode="json"),
    }


def _without_login(address: str) -> str:
    """An address without the name and password that it may carry."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else address
