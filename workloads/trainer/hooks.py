"""What a training run tells: lines for a person at the console, and `events.jsonl` for programs."""

from pathlib import Path
from typing import Protocol

from workloads.spec.errors import UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent, read_events
from workloads.spec.plan import Plan
from workloads.spec.recipe import TrainSpec
from workloads.trainer.schedule import round_epochs

EVENTS = "events.jsonl"

_RULE = "─" * 32
_METRIC_LABELS = {"accuracy": "acc", "auc": "auc", "bits_per_byte": "bits/byte"}  # the log has the others


class Hook(Protocol):
    """Is told what happens at a site, in order."""

    def round_started(self, number: int) -> None:
        """Round `number`, counted from 1, is next."""

    def step(self, event: StepEvent) -> None:
        """An inner step was made."""

    def round_committed(self, event: RoundEvent) -> None:
        """All sites have merged."""

    def note(self, event: NoteEvent) -> None:
        """Something out of the ordinary."""

    def close(self) -> None:
        """Nothing more will happen. May be repeated."""


class Console:
    """Progress for a person, on standard output."""

    def __init__(self, train: TrainSpec, plan: Plan) -> None:
        self._epochs = train.epochs
        self._of_round = round_epochs(train, plan)
        self._epoch = 0

    def round_started(self, number: int) -> None:
        """The epoch with its rule, if it is a new one, and the batch."""
        epoch = self._of_round[number - 1]
        if epoch != self._epoch:
            self._epoch = epoch
            self.say(f"Epoch {epoch}/{self._epochs}")
            self.say(_RULE)
        self.say(f"Batch {number - self._of_round.index(epoch)}/{self._of_round.count(epoch)}")

    def step(self, event: StepEvent) -> None:
        """Steps are too many to be read."""

    def round_committed(self, event: RoundEvent) -> None:
        """Loss, metric and time of the round."""
        known = {label: event.metrics[name] for name, label in _METRIC_LABELS.items() if name in event.metrics}
        metrics = "".join(f" - {label}: {value:.4f}" for label, value in known.items())
        self.say(f"- loss: {event.loss:.4f}{metrics}")
        self.say(f"- time: {event.seconds:.2f}s")

    def note(self, event: NoteEvent) -> None:
        """One line."""
        self.say(f"note: {event.text}")

    def close(self) -> None:
        """Standard output is not this hook's to close."""

    @staticmethod
    def say(line: str) -> None:
        """One line, at once."""
        print(line, flush=True)  # noqa: T201 - the console is the interface


class EventLog:
    """Appends to `events.jsonl`. Steps and rounds that a resumed run makes again are there once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def rewind(self, number: int, step: int) -> None:
        """Forget rounds after `number` and steps after `step`: they will be made again."""
        self._file.close()
        kept = [event for event in read_events(self._path) if not _is_after(event, number, step)]
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text("".join(event.model_dump_json() + "\n" for event in kept), encoding="utf-8")
        scratch.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def round_started(self, number: int) -> None:
        """Not an event: the steps that follow say so."""

    def step(self, event: StepEvent) -> None:
        """Append the event."""
        self._append(event)

    def round_committed(self, event: RoundEvent) -> None:
        """Append the event."""
        self._append(event)

    def note(self, event: NoteEvent) -> None:
        """Append the event."""
        self._append(event)

    def _append(self, event: StepEvent | RoundEvent | NoteEvent) -> None:
        try:
            self._file.write(event.model_dump_json() + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path}: {error.strerror}; make room and run `make up` again") from None


def _is_after(event: StepEvent | RoundEvent | NoteEvent, number: int, step: int) -> bool:
    if isinstance(event, StepEvent):
        return event.step > step
    return isinstance(event, RoundEvent) and event.round > number


def _drop_torn_line(path: Path) -> None:
    """A kill may have torn the last line; what is appended next must not become part of it."""
    if not path.exists():
        return
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
