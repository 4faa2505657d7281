"""Commands of the product as real processes on free ports, ended by their id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 90  # a bound for a machine that is busy, not an expectation
STOP_LIMIT_S = 30
# One core each: tests run beside one another.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def run_module(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments`, to its end."""
    return subprocess.run(
        _command(module, *arguments),
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )


@contextmanager
def running_module(module: str, *arguments: str | Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m module arguments` in the background from its first line of output on; its stderr goes to `log`."""
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            _command(module, *arguments),
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), f"{module} ended at its start: {log.read_text(encoding='utf-8')}"
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _command(module: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]
