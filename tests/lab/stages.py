"""Long work in stages, some of them side by side: each says when it begins, how far it is, and its seconds at the end."""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from infra.settings import ROOT
from infra.toolchain.progress import say
from tests.lab.daemons import LabError
from tests.lab.log import Log

_DETAIL_WIDTH = 90
_LINES_OF_A_FAILURE = 12

Tell = Callable[[str], None]


class Stages:
    """Stages of one command, on a terminal as living lines, elsewhere as a line at the beginning and one at the end."""

    def __init__(self, console: Console, log: Log) -> None:
        self._console, self._log = console, log
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Tell]:
        """A stretch of work; the function it gives says how far it is."""
        began = time.monotonic()
        self._log.say(name, "begins")
        with self._shown(name) as tell:
            try:
                yield tell
            except BaseException:
                self._note(f"{name}: failed after {time.monotonic() - began:.0f} s")
                raise
        self.seconds[name] = time.monotonic() - began
        self._note(f"{name}: done in {self.seconds[name]:.0f} s")

    def module(self, name: str, *command: str) -> None:
        """A stage that is `python -m COMMAND`. Raises `LabError` with the end of what it said."""
        with self.stage(name) as tell:
            self._run(name, [sys.executable, "-m", *command], tell)

    def lanes(self, *lanes: Callable[[], None]) -> None:
        """Work side by side. Raises the first lane's error when all have ended, so that nothing goes on unseen."""
        with ThreadPoolExecutor(len(lanes)) as pool:
            ended = [pool.submit(lane) for lane in lanes]
        errors = [error for each in ended if (error := each.exception()) is not None]
        if errors:
            raise errors[0]

    def _run(self, name: str, command: list[str], tell: Tell) -> None:
        last: deque[str] = deque(maxlen=_LINES_OF_A_FAILURE)
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.strip():
                    self._log.say(name, line)
                    last.append(line.strip())
                    tell(line.strip()[:_DETAIL_WIDTH])
        if child.returncode:
            said = next((line for line in reversed(last) if "error" in line.lower()), last[-1] if last else "")
            raise LabError(f"{name}: {said or f'ended with {child.returncode} and said nothing'}")

    @contextmanager
    def _shown(self, name: str) -> Iterator[Tell]:
        if self._progress is None:
            say(self._console, f"{name} …")
            yield lambda _: None
            return
        progress, task = self._progress, self._progress.add_task(name, total=None)
        try:
            yield lambda detail: progress.update(task, description=f"{name}: {detail}")
        finally:
            progress.remove_task(task)

    def _note(self, line: str) -> None:
        self._log.say("lab", line)
        say(self._console, line)
