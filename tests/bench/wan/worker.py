"""One site of one job: `python -m tests.bench.wan.worker JOB SITE`. It says `ready`, waits for a line, trains, and says `done`."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.utils import vector_to_parameters

from tests.bench.wan.jobs import Job, Look, Mark, Outcome
from tests.bench.wan.link import carried
from tests.bench.wan.methods import way_of
from tests.bench.wan.training import (
    Batches,
    batch_loss,
    build_model,
    build_optimizers,
    set_learning_rate,
    validation_loss,
)


class Trainer:
    """The loop, and what it saw."""

    def __init__(self, job: Job, site: int) -> None:
        self._job = job
        self._site = site
        self._model = build_model(job.task)
        self._optimizers = build_optimizers(job.task, self._model)
        self._batches = Batches(job.task, site)
        make = way_of(job, site)
        self._start_bytes = _status_bytes("VmRSS")
        self._way = make(job, site, self._model, self._optimizers)
        self._last_step = job.steps
        self._marks: list[Mark] = []
        self._taken: list[tuple[int, float, Path]] = []
        self._merges = 0
        self._next_snapshot = 0
        self._count_snapshots = 0

    def train(self) -> Outcome:
        """All of it, from the word go."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # count the peak from now on
        started = time.perf_counter()
        step, passed_s = 0, 0.0
        while step < self._last_step:
            self._train_step(step)
            step += 1
            is_merged = self._way.stepped(step)
            passed_s = time.perf_counter() - started
            if is_merged:
                self._merged(step, passed_s)
            self._heed_the_limit(step, passed_s)
        peak_bytes = _status_bytes("VmHWM")
        self._way.close()
        return Outcome(
            marks=tuple(self._marks),
            looks=tuple(self._judged()),
            parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            steps=step,
            seconds=passed_s,
            peak_bytes=peak_bytes,
            start_bytes=self._start_bytes,
        )

    def _train_step(self, step: int) -> None:
        set_learning_rate(self._job.task, self._optimizers, step)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        batch_loss(self._way.model, *self._batches(step)).backward()
        for optimizer in self._optimizers:
            optimizer.step()

    def _merged(self, step: int, passed_s: float) -> None:
        """The sites hold the same model now: count, and now and then keep it to be judged after the clock has stopped."""
        self._merges += 1
        if self._merges >= self._way.settled:
            counters = self._job.counters
            self._marks.append(Mark(step=step, at_s=passed_s, link_bytes=carried(counters).bytes if counters else 0))
        if self._job.snapshot_every is None or (step < self._next_snapshot and step != self._last_step):
            return
        self._next_snapshot = step + self._job.snapshot_every
        self._count_snapshots += 1
        # Each site judges every other one; both write, so that none is ahead.
        path = self._job.folder / f"snapshot-{self._site}-{step}.pt"
        torch.save(self._way.shared(), path)
        if self._count_snapshots % 2 == self._site:
            self._taken.append((step, passed_s, path))

    def _heed_the_limit(self, step: int, passed_s: float) -> None:
        """In lock-step the sites agree where to stop without a word on the link: none can end a step that the other has
        not begun, so what the first site decides before it begins the next, the other one sees after it."""
        limit_s = self._job.limit_s
        if limit_s is None or not self._job.method.is_lock_step:
            return
        decision = self._job.folder / "last-step"
        if self._site == 0 and passed_s >= limit_s and not decision.exists():
            decision.write_text(str(step + 1), encoding="ascii")
        if decision.exists():
            self._last_step = min(self._last_step, int(decision.read_text(encoding="ascii")))

    def _judged(self) -> Iterator[Look]:
        for step, at_s, path in self._taken:
            vector_to_parameters(torch.load(path, weights_only=True), self._model.parameters())
            yield Look(step=step, at_s=at_s, loss=validation_loss(self._job.task, self._model))


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def main() -> None:
    """One site, to the end."""
    torch.set_num_threads(1)
    job, site = Job.load(Path(sys.argv[1])), int(sys.argv[2])
    trainer = Trainer(job, site)
    print("ready", flush=True)
    if not sys.stdin.readline():  # the benchmark is gone
        return
    trainer.train().save(job.folder / f"outcome-{site}.json")
    print("done", flush=True)


if __name__ == "__main__":
    main()
