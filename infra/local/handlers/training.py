"""`isthmus:local:TrainingRun`: one `torchrun` a site, under supervision, from launch to fused model."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from infra.local.handler import Context, State
from infra.local.handlers.job import JobHandler, JobInputs, speaker
from infra.local.supervision import ERROR_PREFIX, LOG, STOP_GRACE_S, last_words, run_job
from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, RunResult
from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec, SiteLaunch

MAX_RESTARTS = 3
LAUNCH = "launch.json"


class TrainingHandler(JobHandler):
    """A site that fails is started again and resumes from its checkpoint, up to `MAX_RESTARTS` times; peers wait for it.

    A run that was cut off left its checkpoints in the sites, and the same identity finds them again.
    """

    pulumi_type = "isthmus:local:TrainingRun"
    inputs = JobInputs[LaunchSpec]

    async def work(self, inputs: JobInputs[LaunchSpec], context: Context) -> None:
        launch = with_kept_plan(inputs.launch, inputs.folder / LAUNCH)
        launch.save(inputs.folder / LAUNCH)
        sites = [
            asyncio.ensure_future(_train_site(launch, site, inputs.folder, context, first=index == 0))
            for index, site in enumerate(launch.sites)
        ]
        try:
            await asyncio.gather(*sites)
        finally:
            for site in sites:
                site.cancel()
            await asyncio.gather(*sites, return_exceptions=True)

    def outputs(self, inputs: JobInputs[LaunchSpec]) -> State:
        launch = inputs.launch
        result = RunResult.load(launch.output / RESULT)
        trained = launch.output / "trained"
        ArtifactManifest.load(trained / MANIFEST).verify(trained)
        return {
            "run_id": result.run_id,
            "model": str(trained),
            "manifest_digest": result.manifest_digest,
            "metrics": result.metrics,
            "rounds": result.rounds,
            "samples": result.samples,
            "wall_s": result.wall_s,
            "link_bytes": sum(result.wire_bytes_sent.values()),
            "ddp_link_bytes": result.bytes_ddp * len(launch.sites),
            "peak_memory_bytes": max(result.peak_memory_bytes.values()),
            "plan": LaunchSpec.load(inputs.folder / LAUNCH).plan.model_dump(mode="json"),
        }

    def made(self, inputs: JobInputs[LaunchSpec]) -> tuple[Path, ...]:
        return (*(site.work for site in inputs.launch.sites), inputs.launch.output)


def with_kept_plan(launch: LaunchSpec, earlier: Path) -> LaunchSpec:
    """`launch` with the plan of the attempt before, if there was one: its rounds and outer state are half way through it.

    A plan that splits the model otherwise has other endpoints and gives way; checkpoints are read in any layout. So does
    one that another version of this program wrote.
    """
    try:
        kept = LaunchSpec.load(earlier).plan
    except UserError:
        return launch
    layouts = {name: site.layout.ranks for name, site in kept.sites.items()}
    fits = kept.shards == launch.plan.shards and layouts == {site.name: site.workers for site in launch.sites}
    return launch.model_copy(update={"plan": kept}) if fits else launch


async def _train_site(launch: LaunchSpec, site: SiteLaunch, folder: Path, context: Context, *, first: bool) -> None:
    work = folder / site.name
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={site.workers}",
        "--nnodes=1",
        "--max-restarts=0",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={site.rendezvous}",
        f"--rdzv-id={launch.run_id}-{site.name}",
        f"--log-dir={work / 'torchrun'}",  # by default a folder outside ours, which nobody removes
        "--module",
        "workloads.trainer",
        str(folder / LAUNCH),
        "--site",
        site.name,
    ]
    threads = {"OMP_NUM_THREADS": str(site.threads), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    say = speaker(context) if first else _only_errors(context, site.name)
    for attempt in range(MAX_RESTARTS + 1):
        (work / LOG).unlink(missing_ok=True)  # what an earlier attempt said is not this one's error
        status = await run_job(work, command, say, environment=threads)
        if status == 0:
            return
        words = last_words(work / LOG)
        told = any(line.startswith(ERROR_PREFIX) for line in (work / LOG).read_text(errors="replace").splitlines())
        if told or attempt == MAX_RESTARTS:
            raise UserError(f"training at {site.name}: {words} (log: {work / LOG})")
        context.note(f"{site.name} ended with status {status} ({words}); restart {attempt + 1} of {MAX_RESTARTS}")
        await asyncio.sleep(min(2.0**attempt, STOP_GRACE_S))


def _only_errors(context: Context, name: str) -> Callable[[str], None]:
    """The other sites say the same as the first; only what goes wrong there is shown."""

    def say(line: str) -> None:
        if line.startswith((ERROR_PREFIX, "note: ")):
            context.note(f"[{name}] {line}")

    return say
