"""`python -m workloads.trainer.watching LAUNCH.json`: watch a run that is going on, or look at one that is over.

On a terminal it is a live table, and elsewhere a line a site every few seconds. It only reads.
"""

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from workloads.spec.errors import run_command
from workloads.spec.events import NoteEvent
from workloads.spec.launch import LaunchSpec
from workloads.trainer.watching.pacing import Pacing
from workloads.trainer.watching.tail import EventTail
from workloads.trainer.watching.view import Progress, Row, plain, row, screen

_EVENTS = "events.jsonl"
_LOOK_AGAIN_S = 0.5


class Watch:
    """All sites of a run, as far as their files tell."""

    def __init__(self, launch: LaunchSpec) -> None:
        self.title = f"{launch.recipe.name}, run {launch.run_id}"
        self._pacing = Pacing(launch.plan)
        self._tails = {site.name: EventTail(site.work / _EVENTS) for site in launch.sites}
        self._progress = {site.name: Progress(site.name) for site in launch.sites}
        self._notes: dict[str, list[NoteEvent]] = {site.name: [] for site in launch.sites}

    def look(self, now: float) -> tuple[Row, ...]:
        """The rows at `now`, in seconds since the epoch, with what was told since the last look."""
        for site, tail in self._tails.items():
            events, anew = tail.look()
            progress = Progress(site) if anew else self._progress[site]
            for event in events:
                progress = progress.after(event, self._pacing)
            self._progress[site] = progress
            kept = [] if anew else self._notes[site]
            self._notes[site] = kept + [event for event in events if isinstance(event, NoteEvent)]
        return tuple(row(progress, self._pacing, now) for progress in self._progress.values())

    @property
    def notes(self) -> list[NoteEvent]:
        """All notes of all sites, by time."""
        return sorted((note for notes in self._notes.values() for note in notes), key=lambda note: note.t)


def main() -> None:
    """Watch until every site has merged its last round, or until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m workloads.trainer.watching", description="Watch a training run.")
    parser.add_argument("launch", type=Path, help="LaunchSpec as JSON: launch.json in the run's job folder")
    parser.add_argument("--once", action="store_true", help="show how the run stands and end")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="between lines off a terminal")
    arguments = parser.parse_args()
    watch, console = Watch(LaunchSpec.load(arguments.launch)), Console()
    if console.is_terminal:
        follow_on_screen(watch, console, once=arguments.once)
    else:
        follow_in_lines(watch, arguments.every, once=arguments.once)


def follow_on_screen(watch: Watch, console: Console, *, once: bool) -> None:
    """A table that is drawn again whenever the files were looked at."""
    lines = watch.look(time.time())
    with Live(screen(watch.title, lines, watch.notes), console=console, auto_refresh=False) as live:
        while not (once or all(line.done for line in lines)):
            time.sleep(_LOOK_AGAIN_S)
            lines = watch.look(time.time())
            live.update(screen(watch.title, lines, watch.notes), refresh=True)


def follow_in_lines(watch: Watch, every_s: float, *, once: bool) -> None:
    """Notes as they come, and a line for every site that has gone on, each `every_s` seconds and at the end."""
    shown: dict[str, tuple[int, float]] = {}
    notes_shown = 0
    while True:
        lines = watch.look(time.time())
        over = once or all(line.done for line in lines)
        for note in watch.notes[notes_shown:]:
            _say(f"note: {note.site}: {note.text}")
        notes_shown = len(watch.notes)
        for line in lines:
            stands = (line.committed, line.fraction)
            if shown.get(line.site) != stands:
                shown[line.site] = stands
                _say(plain(line))
        if over:
            return
        time.sleep(every_s)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the interface of a command


if __name__ == "__main__":
    run_command(main)
