"""A site that trains, without a model: rounds, outages, restarts, removal and healing as the trainer goes through them."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from tests.workloads.sync.cohort import HANG_S, make_exchange
from tests.workloads.sync.turns import make_plan
from workloads.spec.base import Credentials
from workloads.spec.recipe import MembershipSpec
from workloads.sync import Synchronizer
from workloads.sync.membership import Membership
from workloads.sync.rendezvous import MustHealError

SIZE = 600  # parameters
STEPS = 4  # of a round
BATCH = {"aws-1": 3, "os-1": 5, "os-2": 2}
STAY = MembershipSpec()


class Killed(BaseException):
    """The site's process is gone, at this very point."""


@dataclass
class Disk:
    """What of a site survives its process: a folder and, by round, states with what the trainer keeps beside them."""

    folder: Path
    states: dict[int, "Saved"] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """A site after a round: `trained` samples, of which `offered` went into it, and `merged` by site."""

    outer: dict[str, Tensor]
    local: Tensor
    trained: int
    offered: int
    merged: Counter[str]


@dataclass(frozen=True)
class Outcome:
    """How a site ended: `merged` are samples by site as merged here, `refused` reasons of refusal."""

    digest: str
    trained: int
    lost: int
    merged: dict[str, int]
    refused: Counter[str]
    cohorts: list[tuple[str, ...]]


Happening = Callable[["TrainingSite", int], None]


def nothing(site: "TrainingSite", turn: int) -> None:
    """What happens in most turns."""


@dataclass
class TrainingSite:
    """`name` among the sites of `ports`, for `rounds` rounds. The hooks are called with the turn they are about."""

    name: str
    ports: Mapping[str, int]
    disk: Disk
    rounds: int
    via: Mapping[str, int] = field(default_factory=dict)
    credentials: Credentials | None = None
    spec: MembershipSpec = STAY
    fragments: int = 1
    deadline_s: float = 0.05
    size: int = SIZE
    begun: Happening = nothing  # the frame is on its way
    arrived: Happening = nothing  # merged with the others', and not taken over yet
    committed: Happening = nothing
    waiting: Happening = nothing  # beyond the deadline

    def run(self) -> Outcome:
        """Train to the last round, whatever happens. Raises `Killed` if a hook does."""
        exchange = make_exchange(
            self.name, self.ports, via=self.via, credentials=self.credentials, fragments=self.fragments
        )
        plan = make_plan(self.ports, lr=0.7, momentum=0.6, rounds=self.rounds, fragments=self.fragments)
        with exchange:
            self.exchange = exchange
            self.synchronizer = Synchronizer(
                site=self.name, sites=list(self.ports), initial=torch.zeros(self.size), plan=plan, exchange=exchange
            )
            try:
                with Membership(
                    exchange=exchange, synchronizer=self.synchronizer, spec=self.spec, folder=self.disk.folder
                ) as self.membership:
                    return self._train()
            finally:
                self.synchronizer.close()

    def train_step(self) -> None:
        """Learn something that depends on the site and the step alone."""
        step = self.trained // BATCH[self.name]
        generator = torch.Generator().manual_seed(1000 * list(BATCH).index(self.name) + step)
        self.local += torch.randn(self.size, generator=generator) / 10
        self.trained += BATCH[self.name]

    def _train(self) -> Outcome:
        self.local, self.trained, self.merged = torch.zeros(self.size), 0, Counter[str]()
        self.lost = 0
        self._start()
        while self.synchronizer.round < self.rounds:
            number = self.synchronizer.round + 1
            while self.trained - self._offered < STEPS * BATCH[self.name]:
                self.train_step()
                self._poll()
            self._offered = self.trained
            self._since = time.monotonic()
            for _ in range(self.fragments):
                self.synchronizer.begin(self.local[self.synchronizer.next_fragment], self.trained)
                self.begun(self, self.synchronizer.begun)
            while self.synchronizer.pending:
                self._finish(is_last=number == self.rounds)
            self._save()
        while not self.exchange.drain(0.1):
            self.membership.poll()
        return Outcome(
            self.synchronizer.digest(),
            self.trained,
            self.lost,
            dict(self.merged),
            self.exchange.refused,
            [view.sites for view in self.membership.views],
        )

    def _start(self) -> None:
        try:
            number = self.membership.start(sorted(self.disk.states), HANG_S)
        except MustHealError:
            newest = max(self.disk.states, default=0)
            if newest:
                self.trained, self.merged = self.disk.states[newest].trained, self.disk.states[newest].merged.copy()
            self._rejoin()
            return
        self._offered = 0
        if number:
            saved = self.disk.states[number]
            self.synchronizer.load_state_dict(saved.outer)
            self.local, self.merged = saved.local.clone(), saved.merged.copy()
            self.trained, self._offered = saved.trained, saved.offered
        self.membership.adopt(self.membership.views, is_open=False)

    def _finish(self, *, is_last: bool) -> None:
        turn = self.synchronizer.committed + 1
        if self.synchronizer.arrived(self.deadline_s):
            self.arrived(self, turn)
            where = self.synchronizer.oldest_fragment
            report = self.synchronizer.commit()
            self.synchronizer.merge(self.local[where])
            if report.fragment == 0:
                self.merged.update(report.samples)
            self._since = time.monotonic()
            self.committed(self, turn)
        else:
            waited_s = time.monotonic() - self._since
            assert waited_s < HANG_S, f"{self.name} hangs in turn {turn}: {self.exchange.overdue()}"
            self.waiting(self, turn)
            if not is_last:
                self.train_step()
        self._poll()

    def _poll(self) -> None:
        self.membership.poll()
        if self.membership.is_out:
            self._rejoin()

    def _rejoin(self) -> None:
        self.membership.ask_in(HANG_S)
        own = self.merged[self.name] + self.lost
        self.membership.heal(trained=self.trained, merged=own, timeout_s=HANG_S)
        self.lost = self.membership.samples_lost
        self.local = self.synchronizer.outer_tensors()["parameters"].clone()
        self._offered = self.trained

    def _save(self) -> None:
        state = {name: tensor.clone() for name, tensor in self.synchronizer.state_dict().items()}
        self.disk.states[self.synchronizer.round] = Saved(
            state, self.local.clone(), self.trained, self._offered, self.merged.copy()
        )


def disk_of(folder: Path, site: str) -> Disk:
    """An empty disk for `site`."""
    place = folder / site
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return Disk(place)


def until_killed(site: TrainingSite) -> Outcome | None:
    """How `site` ended; None: it was killed."""
    try:
        return site.run()
    except Killed:
        return None


def kill_at(killed_in: int, *, is_heard: bool = True) -> Happening:
    """Kill the site in turn `killed_in`; if it `is_heard`, the others have all that it has sent before."""

    def happen(site: TrainingSite, turn: int) -> None:
        if turn != killed_in:
            return
        if is_heard:
            site.synchronizer.hold()  # until what was begun is published
            site.synchronizer.release()
            assert site.exchange.drain(HANG_S)
        raise Killed

    return happen
