"""Long work says how far it is: on a terminal as one living line, elsewhere (CI logs) as a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LOG_INTERVAL_S = 15.0


@contextmanager
def stage(console: Console, title: str) -> Iterator[Callable[[str], None]]:
    """A stretch of work under a title; the function it gives says how far it is, as often as one likes."""
    began = time.monotonic()
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title, total=None)
            yield lambda detail: progress.update(task, description=f"{title}: {detail}")
    else:
        say(console, f"{title} …")
        said = began

        def now_and_then(detail: str) -> None:
            nonlocal said
            if (now := time.monotonic()) - said >= LOG_INTERVAL_S:
                said = now
                say(console, f"{title}: {detail}, {now - began:.0f} s")

        yield now_and_then
    say(console, f"{title}: done in {time.monotonic() - began:.0f} s")


def say(console: Console, line: str) -> None:
    """Print a line as it is: unwrapped, so that a log can be searched, and without markup, since it may hold a path."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
