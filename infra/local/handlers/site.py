"""`isthmus:local:Site`: a folder and a share of this machine, standing for what a cloud would give."""

import os
import shutil
import sys
from pathlib import Path

import psutil
from pydantic import ValidationError

from infra.local.handler import Context, Handler, State
from infra.local.supervision import LOG, last_words, run_job
from workloads.spec.base import Frozen, SiteName
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError, explain
from workloads.spec.facts import Calibration, SiteFacts

# Checkpoints, models and logs of a small run, several times over.
WORKING_BYTES = 1 << 30


class SiteInputs(Frozen):
    """`machine_share` is how many sites share this machine's cores and memory."""

    name: SiteName
    folder: Path
    workers: int
    machine_share: int


class SiteHandler(Handler[SiteInputs]):
    """Its outputs are what the training is planned from: cores, memory and speed of the site's workers.

    Speed is measured when the site is made, or its workers change, and is a fact from then on: measuring again at every
    `up` would give the plan new noise to react to.
    """

    pulumi_type = "isthmus:local:Site"
    inputs = SiteInputs
    replace_on = frozenset({"name", "folder"})

    async def create(self, inputs: SiteInputs, context: Context) -> State:
        inputs.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ensure_room(inputs.folder, WORKING_BYTES, "a site")
        return await _facts(inputs, context)

    async def read(self, inputs: SiteInputs, state: State) -> State | None:
        del state
        return {"status": "ok"} if inputs.folder.is_dir() else None

    async def update(self, inputs: SiteInputs, state: State, context: Context) -> State:
        del state
        return await _facts(inputs, context)

    async def delete(self, inputs: SiteInputs, state: State) -> None:
        del state
        shutil.rmtree(inputs.folder, ignore_errors=True)


async def _facts(inputs: SiteInputs, context: Context) -> State:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = inputs.machine_share * inputs.workers
    threads = max(1, cores // workers)
    measured = await _measure(inputs, threads, context)
    facts = SiteFacts(
        name=inputs.name,
        workers=inputs.workers,
        threads=threads,
        memory_bytes=psutil.virtual_memory().total // workers,
        **measured.shared_by(workers * threads / cores).model_dump(),
    )
    return {"facts": facts.model_dump(mode="json"), "status": "ok"}


async def _measure(inputs: SiteInputs, threads: int, context: Context) -> Calibration:
    """How fast a worker is, found out by the environment that it will run in: this one has no torch."""
    folder = inputs.folder / "calibration"
    context.say(f"{inputs.name}: measuring the speed of a worker")
    command = [sys.executable, "-m", "workloads.planning.calibrate", "--threads", str(threads)]
    said: list[str] = []
    status = await run_job(folder, command, said.append, environment={"OMP_NUM_THREADS": str(threads)})
    try:
        if status == 0:
            return Calibration.model_validate_json(said[-1])
    except (ValidationError, IndexError) as error:
        reason = explain(error, "calibration") if isinstance(error, ValidationError) else "it said nothing"
    else:
        reason = last_words(folder / LOG)
    raise UserError(f"site {inputs.name}: the speed of a worker could not be measured: {reason} (log: {folder / LOG})")
