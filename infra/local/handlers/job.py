"""Resources that are work done once: a data shard, a compressed model, a registered version, a report.

A command reads a spec and writes a result last, so a result that is there is whole.
"""

import hashlib
import shutil
import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from infra.local.handler import Context, Handler, State
from infra.local.supervision import LOG, last_words, run_job
from workloads.spec.artifact import (
    MANIFEST,
    RESULT,
    ArtifactManifest,
    CompressResult,
    RegisterResult,
)
from workloads.spec.base import Frozen, file_digest
from workloads.spec.errors import UserError
from workloads.spec.launch import CompressLaunch, RegisterLaunch, ReportLaunch, ShardLaunch, ShardManifest

SpecT = TypeVar("SpecT", bound=Frozen)


class JobInputs(Frozen, Generic[SpecT]):
    """`identity` decides whether the work is the same work; `launch` says how to do it here and now."""

    identity: str
    launch: SpecT
    folder: Path  # of the command: spec, log and process record


class JobHandler(Handler[JobInputs[Any]]):
    """A finished job is made again when its identity changes, and not because a port or a measurement did."""

    replace_on = frozenset({"identity", "folder"})
    quiet_on = frozenset({"launch"})
    delete_first = False  # folders are named by identity; the old result serves until the new one is there

    @abstractmethod
    def outputs(self, inputs: JobInputs[Any]) -> State:
        """What the work left. Raises `UserError` if it is not there or not whole."""

    @abstractmethod
    def made(self, inputs: JobInputs[Any]) -> tuple[Path, ...]:
        """Folders and files that are this job's alone, to be removed with it."""

    @abstractmethod
    async def work(self, inputs: JobInputs[Any], context: Context) -> None:
        """Do it, carrying on where an earlier attempt was cut off. Raises `UserError` with why it cannot be done."""

    async def create(self, inputs: JobInputs[Any], context: Context) -> State:
        await self.work(inputs, context)
        return {**self.outputs(inputs), "status": "ok"}

    async def read(self, inputs: JobInputs[Any], state: State) -> State | None:
        del state
        try:
            return {**self.outputs(inputs), "status": "ok"}
        except UserError:
            return None

    async def update(self, inputs: JobInputs[Any], state: State, context: Context) -> State:
        del state
        return await self.create(inputs, context)

    async def delete(self, inputs: JobInputs[Any], state: State) -> None:
        del state
        for path in (*self.made(inputs), inputs.folder):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


class CommandHandler(JobHandler):
    """A job that is one `python -m MODULE SPEC`."""

    module: ClassVar[str]

    async def work(self, inputs: JobInputs[Any], context: Context) -> None:
        spec = inputs.folder / "spec.json"
        inputs.launch.save(spec)
        status = await run_job(inputs.folder, [sys.executable, "-m", self.module, str(spec)], speaker(context))
        if status != 0:
            raise UserError(f"{last_words(inputs.folder / LOG)} (log: {inputs.folder / LOG})")


def speaker(context: Context, prefix: str = "") -> Callable[[str], None]:
    """Shows a job's lines as progress; an empty line is nothing to show."""

    def say(line: str) -> None:
        if line.strip():
            context.say(f"{prefix}{line}")

    return say


class ShardHandler(CommandHandler):
    """`isthmus:local:DataShard`: a site's own part of the data, made where it is used."""

    pulumi_type = "isthmus:local:DataShard"
    module = "workloads.trainer.shard"
    inputs = JobInputs[ShardLaunch]

    def outputs(self, inputs: JobInputs[ShardLaunch]) -> State:
        folder = inputs.launch.folder
        manifest = ShardManifest.load(folder / MANIFEST)
        for name, digest in manifest.files.items():
            path = folder / name
            if not path.is_file() or file_digest(path) != digest:
                raise UserError(f"{path} is missing or changed")
        return {
            "data_digest": manifest.data_digest,
            "samples": manifest.samples,
            "held_out_samples": manifest.held_out_samples,
        }

    def made(self, inputs: JobInputs[ShardLaunch]) -> tuple[Path, ...]:
        return (inputs.launch.folder,)


class CompressionHandler(CommandHandler):
    """`isthmus:local:CompressedModel`: pruned, quantised, exported, and good enough by the recipe's gate."""

    pulumi_type = "isthmus:local:CompressedModel"
    module = "workloads.compression"
    inputs = JobInputs[CompressLaunch]

    def outputs(self, inputs: JobInputs[CompressLaunch]) -> State:
        output = inputs.launch.output
        result = CompressResult.load(output / RESULT)
        ArtifactManifest.load(output / "model" / MANIFEST).verify(output / "model")
        return {
            "model": str(output / "model"),
            "manifest_digest": result.manifest_digest,
            "metric": result.metric,
            "before": result.before,
            "after": result.after,
            "bytes_before": result.bytes_before,
            "bytes_after": result.bytes_after,
        }

    def made(self, inputs: JobInputs[CompressLaunch]) -> tuple[Path, ...]:
        return (inputs.launch.output,)


class VersionHandler(CommandHandler):
    """`isthmus:local:ModelVersion`: a signed version in the registry, with its lineage and alias."""

    pulumi_type = "isthmus:local:ModelVersion"
    module = "workloads.registry"
    inputs = JobInputs[RegisterLaunch]

    def outputs(self, inputs: JobInputs[RegisterLaunch]) -> State:
        result = RegisterResult.load(inputs.launch.output / RESULT)
        return {"version": result.version, "page": result.url, "model_digest": result.model_digest}

    def made(self, inputs: JobInputs[RegisterLaunch]) -> tuple[Path, ...]:
        # the version itself stays: a registry is a history, and goes with its own resource
        return (inputs.launch.output,)


class ReportHandler(CommandHandler):
    """`isthmus:local:Report`: one self-contained page about the run."""

    pulumi_type = "isthmus:local:Report"
    module = "workloads.report"
    inputs = JobInputs[ReportLaunch]

    def outputs(self, inputs: JobInputs[ReportLaunch]) -> State:
        path = inputs.launch.output
        if not path.is_file():
            raise UserError(f"{path} is missing")
        return {"page": str(path), "page_digest": hashlib.sha256(path.read_bytes()).hexdigest()}

    def made(self, inputs: JobInputs[ReportLaunch]) -> tuple[Path, ...]:
        return (inputs.launch.output,)
