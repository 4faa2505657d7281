"""Both sites of a job as processes: started, told to go together, and ended by their id whatever happens."""

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.bench.wan.jobs import SITES, Job, Outcome
from workloads.spec.errors import UserError

ROOT = Path(__file__).parents[3]
_STOP_LIMIT_S = 20
_QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "OTEL_SDK_DISABLED": "true"}
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **_QUIET}


def run(job: Job, prefixes: Sequence[Sequence[str]]) -> tuple[Outcome, Outcome]:
    """`job` to its end, site i by a command that begins with `prefixes[i]`.

    Raises:
        UserError: a site ended early; its last words are in the message, all of them in the job's folder.
    """
    job.folder.mkdir(parents=True)
    spec = job.folder / "job.json"
    job.save(spec)
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(job.folder, spec, site, prefix)) for site, prefix in enumerate(prefixes)]
        _hear(job, workers, "ready\n")
        for worker in workers:
            if worker.stdin:
                worker.stdin.write("go\n")
                worker.stdin.flush()
        _hear(job, workers, "done\n")
    for path in job.folder.glob("snapshot-*"):
        path.unlink()
    first, second = (Outcome.load(job.folder / f"outcome-{site}.json") for site in range(len(SITES)))
    return first, second


@contextmanager
def _worker(folder: Path, spec: Path, site: int, prefix: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    command = [*prefix, sys.executable, "-m", "tests.bench.wan.worker", str(spec), str(site)]
    with (folder / f"site-{site}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_LIMIT_S)
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def _hear(job: Job, workers: Sequence[subprocess.Popen[str]], word: str) -> None:
    """Wait until every worker has said `word`: whichever ends without is heard at once, while the other waits for it."""
    with selectors.DefaultSelector() as selector:
        for site, worker in enumerate(workers):
            if worker.stdout:
                selector.register(worker.stdout, selectors.EVENT_READ, (site, worker.stdout))
        while selector.get_map():
            for key, _ in selector.select():
                site, pipe = key.data
                if pipe.readline() != word:
                    raise UserError(_ended_early(job, site))
                selector.unregister(pipe)


def _ended_early(job: Job, site: int) -> str:
    log = job.folder / f"site-{site}.log"
    words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
    return f"{job.method.name}: site {SITES[site]} ended early: {words[-1][:300]} (all of it in {log})"
