"""What a person sees of a run: from each site's events to rows, and from rows to a screen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from workloads.report.wording import duration, metric_name, quality, share, size
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.trainer.watching.pacing import Pacing
from workloads.trainer.watching.rates import Smoothed

NOTES_SHOWN = 5
SILENT_S = 30.0  # a site that has told nothing for so long is said to be silent

_BAR_WIDTH = 24
_DASH = "-"

Told = StepEvent | RoundEvent | NoteEvent


@dataclass(frozen=True)
class Progress:
    """What one site has told so far."""

    site: str
    step: StepEvent | None = None
    round: RoundEvent | None = None
    merged_at: int = 0  # step at which the newest round was merged
    samples_per_s: Smoothed = field(default_factory=Smoothed)  # waiting and merging included
    step_s: Smoothed = field(default_factory=Smoothed)  # likewise
    mfu: Smoothed = field(default_factory=Smoothed)  # of the steps alone
    seconds: float = 0.0
    wait_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    refused: int = 0
    last_t: float | None = None

    def after(self, event: Told, pacing: Pacing) -> "Progress":
        """What is known with one event more."""
        known = replace(self, last_t=event.t)
        if isinstance(event, StepEvent):
            return _after_step(known, event, self.step)
        if isinstance(event, NoteEvent):
            return known
        return replace(
            known,
            round=event,
            merged_at=self.step.step if self.step else 0,
            step_s=self.step_s.after(event.seconds / pacing.length(event.round), event.seconds),
            seconds=self.seconds + event.seconds,
            wait_s=self.wait_s + event.wait_s,
            bytes_sent=self.bytes_sent + event.bytes_sent,
            bytes_received=self.bytes_received + event.bytes_received,
            refused=self.refused + event.refused,
        )


@dataclass(frozen=True)
class Row:
    """One site's line. Figures that are not known yet are None."""

    site: str
    committed: int  # rounds
    rounds: int
    fraction: float  # of the run's planned steps
    loss: float | None
    quality: tuple[str, float] | None  # the newest round's first metric
    samples_per_s: float | None
    mfu: float | None  # model FLOPs utilisation
    wait_share: float | None  # of the time of the rounds
    bytes_sent: int
    bytes_received: int
    refused: int
    steps_ahead: int
    eta_s: float | None  # 0 when done
    silent_s: float | None  # since the last event; None before the first

    @property
    def done(self) -> bool:
        """Whether all rounds are merged."""
        return self.committed >= self.rounds

    @property
    def standing(self) -> str:
        """In a few words, what the site is doing."""
        if self.done:
            return "done"
        if self.silent_s is None:
            return "not begun"
        if self.silent_s >= SILENT_S:
            return f"silent for {duration(self.silent_s)}"
        return f"alone for {self.steps_ahead:,} steps" if self.steps_ahead else "training"


def row(progress: Progress, pacing: Pacing, now: float) -> Row:
    """A site's row at `now`, in seconds since the epoch."""
    committed = progress.round.round if progress.round else 0
    since = progress.step.step - progress.merged_at if progress.step else 0
    made, pace, done = pacing.steps_made(committed, since), progress.step_s.value, committed >= pacing.rounds
    metrics = progress.round.metrics if progress.round else {}
    return Row(
        site=progress.site,
        committed=committed,
        rounds=pacing.rounds,
        fraction=made / pacing.steps,
        loss=progress.step.loss if progress.step else None,
        quality=next(iter(metrics.items()), None),
        samples_per_s=progress.samples_per_s.value,
        mfu=progress.mfu.value,
        wait_share=progress.wait_s / progress.seconds if progress.seconds > 0 else None,
        bytes_sent=progress.bytes_sent,
        bytes_received=progress.bytes_received,
        refused=progress.refused,
        steps_ahead=pacing.steps_ahead(committed, since),
        eta_s=0.0 if done else None if pace is None else (pacing.steps - made) * pace,
        silent_s=None if progress.last_t is None else max(0.0, now - progress.last_t),
    )


def rows(told: Mapping[str, Iterable[Told]], pacing: Pacing, now: float) -> tuple[Row, ...]:
    """The rows of all sites from everything that they told, in the order of `told`."""
    made = []
    for site, events in told.items():
        progress = Progress(site)
        for event in events:
            progress = progress.after(event, pacing)
        made.append(row(progress, pacing, now))
    return tuple(made)


def screen(title: str, lines: Sequence[Row], notes: Sequence[NoteEvent]) -> RenderableType:
    """The whole view: a table with a bar a site, and the newest notes."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, side in (
        ("site", "left"), ("progress", "left"), ("round", "right"), ("loss", "right"), ("held out", "right"),
        ("samples/s", "right"), ("MFU", "right"), ("waiting", "right"), ("sent", "right"), ("received", "right"), ("left", "right"),
        ("", "left"),
    ):  # fmt: skip
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=True)
    for line in lines:
        bar = ProgressBar(total=1.0, completed=line.fraction, width=_BAR_WIDTH)
        first, *rest, last = _cells(line)
        table.add_row(first, bar, *rest, last)
    newest = sorted(notes, key=lambda note: note.t)[-NOTES_SHOWN:]
    return Group(table, *(Text(f"{note.site}: {note.text}", style="dim") for note in newest))


def plain(line: Row) -> str:
    """A row as one line, for a log."""
    site, number, loss, held_out, speed, used, waiting, sent, received, left, standing = _cells(line)
    return (
        f"{site}: {standing}, round {number} ({share(line.fraction)}), loss {loss}, held out {held_out}, "
        f"{speed} samples/s, MFU {used}, waiting {waiting}, sent {sent}, received {received}, left {left}"
    )


def _cells(line: Row) -> tuple[str, ...]:
    refused = f", {line.refused:,} frames refused" if line.refused else ""
    return (
        line.site,
        f"{line.committed:,}/{line.rounds:,}",
        _DASH if line.loss is None else f"{line.loss:.4f}",
        _DASH if line.quality is None else f"{quality(*line.quality)} {metric_name(line.quality[0])}",
        _DASH if line.samples_per_s is None else f"{line.samples_per_s:,.4g}",
        _DASH if line.mfu is None else share(line.mfu),
        _DASH if line.wait_share is None else share(line.wait_share),
        size(line.bytes_sent),
        size(line.bytes_received),
        _DASH if line.eta_s is None else duration(line.eta_s),
        f"{line.standing}{refused}",
    )


def _after_step(known: Progress, event: StepEvent, before: StepEvent | None) -> Progress:
    """Speed by the clock between two steps; of steps made alone only some are told, so steps are counted by number."""
    if event.mfu is not None:
        known = replace(known, mfu=known.mfu.after(event.mfu, event.seconds))
    if before is None or event.step <= before.step or event.t <= before.t:
        return replace(known, step=event)
    seconds, steps = event.t - before.t, event.step - before.step
    return replace(
        known,
        step=event,
        samples_per_s=known.samples_per_s.after(steps * event.samples / seconds, seconds),
    )
