"""The end of a run: the fused model as an artefact, and `result.json`, each whole or not at all."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import nn

from workloads.delivery.runs import SharedRun
from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, RunResult
from workloads.spec.disk import ensure_room
from workloads.spec.launch import LaunchSpec
from workloads.trainer.evaluation import combine
from workloads.trainer.finished import TRAINED
from workloads.trainer.model import save_model
from workloads.trainer.summary import SiteSummary

_BYTES_PER_FP32 = 4
_PACKAGE = Path(__file__).parent.parent


def publish(launch: LaunchSpec, model: nn.Module, summaries: Mapping[str, SiteSummary]) -> RunResult:
    """Write the artefact to `launch.output / "trained"` and the result beside it, the result last; share both.

    Raises:
        UserError: there is no room on disk, or the store that the sites share cannot be reached.
        RuntimeError: the sites ended with different outer states.
    """
    digests = {name: summary.outer_state_digest for name, summary in summaries.items()}
    if len(set(digests.values())) != 1:
        raise RuntimeError(f"the sites' outer states differ after the last round: {digests}")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    metrics = combine(launch.recipe, [summary.tally for summary in summaries.values()])
    data = {site.name: site.data_digest for site in launch.sites if site.data_digest is not None}
    data |= {name: summary.data_digest for name, summary in summaries.items()}
    manifest = _write_artefact(launch, model, parameters, metrics, data)
    first = summaries[launch.sites[0].name]
    result = RunResult(
        run_id=launch.run_id,
        rounds=len(launch.plan.rounds),
        steps=first.steps,
        samples=sum(summary.samples for summary in summaries.values()),
        parameters=parameters,
        wall_s=first.wall_s,
        resumed_at_round=max(summary.resumed_at_round for summary in summaries.values()),
        bytes_sent={name: summary.bytes_sent for name, summary in summaries.items()},
        wire_bytes_sent={name: summary.wire_bytes_sent for name, summary in summaries.items()},
        bytes_ddp=_BYTES_PER_FP32 * parameters * first.steps,
        wait_s={name: summary.wait_s for name, summary in summaries.items()},
        refused_frames=dict(sum((Counter(summary.refused_frames) for summary in summaries.values()), Counter())),
        outer_state_digest=first.outer_state_digest,
        peak_memory_bytes={name: summary.peak_memory_bytes for name, summary in summaries.items()},
        metrics=metrics,
        manifest_digest=manifest.digest(),
    )
    result.save(launch.output / RESULT)
    if launch.shared is not None:
        SharedRun(launch.shared, launch.run_id).deliver(launch.output)
    return result


def code_version() -> str:
    """The package's version and a digest of its source, which holds for a checkout with changes too."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes())
    try:
        number = version("isthmus")
    except PackageNotFoundError:
        number = "0"
    return f"{number}+{digest.hexdigest()[:12]}"


def _write_artefact(
    launch: LaunchSpec, model: nn.Module, parameters: int, metrics: dict[str, float], data_digests: dict[str, str]
) -> ArtifactManifest:
    launch.output.mkdir(parents=True, exist_ok=True)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    ensure_room(launch.output, size, "the trained model")
    scratch = launch.output / f".{TRAINED}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    save_model(model, launch.recipe, scratch, launch.sites[0].data)
    manifest = ArtifactManifest(
        kind="trained",
        run_id=launch.run_id,
        recipe=launch.recipe.name,
        recipe_digest=launch.recipe.digest(),
        data_digests=data_digests,
        code_version=code_version(),
        metrics=metrics,
        parameters=parameters,
        files=ArtifactManifest.of_files(scratch),
    )
    manifest.save(scratch / MANIFEST)
    target = launch.output / TRAINED
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)
    return manifest
