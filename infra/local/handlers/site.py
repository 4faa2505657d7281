"""`isthmus:local:Site`: a folder and a share of this machine, standing for what a cloud would give."""

import os
import shutil
from pathlib import Path

import psutil

from infra.local.handler import Context, Handler, State
from workloads.spec.base import Frozen, SiteName
from workloads.spec.disk import ensure_room

# Checkpoints, models and logs of a small run, several times over.
WORKING_BYTES = 1 << 30


class SiteInputs(Frozen):
    """`machine_share` is how many sites share this machine's cores and memory."""

    name: SiteName
    folder: Path
    workers: int
    machine_share: int


class SiteHandler(Handler[SiteInputs]):
    """Its outputs are what the training configuration is made of: cores and memory of the site."""

    pulumi_type = "isthmus:local:Site"
    inputs = SiteInputs
    replace_on = frozenset({"name", "folder"})

    async def create(self, inputs: SiteInputs, context: Context) -> State:
        del context
        inputs.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ensure_room(inputs.folder, WORKING_BYTES, "a site")
        return _facts(inputs)

    async def read(self, inputs: SiteInputs, state: State) -> State | None:
        del state
        return {"status": "ok"} if inputs.folder.is_dir() else None

    async def update(self, inputs: SiteInputs, state: State, context: Context) -> State:
        del state, context
        return _facts(inputs)

    async def delete(self, inputs: SiteInputs, state: State) -> None:
        del state
        shutil.rmtree(inputs.folder, ignore_errors=True)


def _facts(inputs: SiteInputs) -> State:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "threads_per_worker": max(1, cores // inputs.machine_share // inputs.workers),
        "memory_bytes": psutil.virtual_memory().total // inputs.machine_share,
        "status": "ok",
    }
