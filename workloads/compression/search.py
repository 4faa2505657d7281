"""The search for the smallest model that is still good enough."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from workloads.compression.example import text_facts
from workloads.compression.export import export_onnx, quantise
from workloads.compression.finished import COMPRESSED
from workloads.compression.pruning import prune
from workloads.inference.session import GRAPH, open_session, predictor
from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, Candidate, CompressResult
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError
from workloads.spec.launch import CompressLaunch
from workloads.trainer import model as trained_model
from workloads.trainer.evaluation import Predict, score
from workloads.trainer.finished import RECIPE
from workloads.trainer.publish import code_version
from workloads.trainer.shard_files import LABELS, verify_shard
from workloads.trainer.tokenizer import TOKENIZER, TOKENIZER_CONFIG

Say = Callable[[str], None]

COMPANIONS = (LABELS, TOKENIZER, TOKENIZER_CONFIG)  # what a client needs beside the graph, where the model has it
FILES_AT_ONCE = 4  # fp32 graph, its prepared copy, the int8 graph, and room to spare


@dataclass(frozen=True)
class _Attempt:
    """A candidate with the metrics that it was judged by. Its graph lies in the scratch folder until the next."""

    candidate: Candidate
    metrics: dict[str, float]


def compress(launch: CompressLaunch, trained: ArtifactManifest, say: Say) -> CompressResult:
    """Publish the first of the recipe's prune ratios, from the strongest, whose int8 ONNX passes the gate.

    Every candidate starts from the trained weights and is judged by the runtime that will serve it, on the held-out
    data of all sites. The model goes to `launch.output / "model"`, the result beside it, last. `trained` is the
    verified manifest of `launch.model`.

    Raises:
        UserError: the model or the data is not what the recipe and the manifest say, the disk is full, or no
            candidate passes; nothing is published then.
    """
    started = time.monotonic()
    gate = launch.recipe.compress.gate
    weights = launch.model / trained_model.WEIGHTS
    _check_input(launch, trained)
    scratch = launch.output / ".building"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        ensure_room(scratch, FILES_AT_ONCE * weights.stat().st_size, "the compressed model")
        before = _metrics_before(launch)
        say(f"trained model: {gate.metric} {before:.4f}, {weights.stat().st_size:,} bytes")
        attempts = _search(launch, scratch, before, say)
        manifest = _publish(launch, trained, scratch, attempts[-1])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    chosen = attempts[-1].candidate
    result = CompressResult(
        metric=gate.metric,
        before=before,
        after=chosen.metric,
        bytes_before=weights.stat().st_size,
        bytes_after=chosen.bytes,
        prune_ratio=chosen.prune_ratio,
        candidates=tuple(attempt.candidate for attempt in attempts),
        wall_s=time.monotonic() - started,
        manifest_digest=manifest.digest(),
    )
    result.save(launch.output / RESULT)
    return result


def _check_input(launch: CompressLaunch, trained: ArtifactManifest) -> None:
    """Raises `UserError` if the recipe is of another model, or a shard is not the data that the model learned from."""
    if trained.recipe != launch.recipe.name:
        raise UserError(f"{launch.model} is of recipe {trained.recipe!r}, not {launch.recipe.name!r}; train that first")
    for site, shard in launch.shards.items():
        if site not in trained.data_digests:
            raise UserError(f"site {site!r} had no part in {launch.model}; sites: {', '.join(trained.data_digests)}")
        verify_shard(shard, trained.data_digests[site])


def _metrics_before(launch: CompressLaunch) -> float:
    model, _ = trained_model.load_model(launch.model)
    return _quality(launch, trained_model.predictor(model, torch.device("cpu")))[launch.recipe.compress.gate.metric]


def _quality(launch: CompressLaunch, predict: Predict) -> dict[str, float]:
    return score(launch.recipe, predict, launch.shards)


def _search(launch: CompressLaunch, scratch: Path, before: float, say: Say) -> list[_Attempt]:
    """All attempts; the last one passed. Raises `UserError` if none does."""
    gate = launch.recipe.compress.gate
    attempts: list[_Attempt] = []
    for ratio in sorted(launch.recipe.compress.prune_ratios, reverse=True):
        attempt = _attempt(launch, ratio, scratch, before)
        attempts.append(attempt)
        candidate = attempt.candidate
        verdict = "passes" if candidate.passed else "fails"
        say(
            f"pruned by {ratio:.0%}, int8: {gate.metric} {candidate.metric:.4f}, {candidate.bytes:,} bytes, "
            f"{candidate.parameters:,} parameters: {verdict}"
        )
        if candidate.passed:
            return attempts
    best = (max if gate.higher_is_better else min)(attempt.candidate.metric for attempt in attempts)
    relation = "at least" if gate.higher_is_better else "at most"
    raise UserError(
        f"no compressed model passes: best {gate.metric} {best:.4f}, needed {relation} {gate.bound:g} and within "
        f"{gate.max_relative_loss:.1%} of the trained model's {before:.4f}; train longer (train.epochs), add a weaker "
        "ratio to compress.prune_ratios, or widen compress.gate"
    )


def _attempt(launch: CompressLaunch, ratio: float, scratch: Path, before: float) -> _Attempt:
    """Prune, export, quantise and judge. Leaves the int8 graph as `scratch / "model.onnx"`."""
    model, _ = trained_model.load_model(launch.model)
    prune(model, launch.recipe, ratio)
    wide = scratch / "fp32.onnx"
    export_onnx(model, launch.recipe, wide)
    quantise(wide, scratch / GRAPH, text_facts(model, launch.recipe))
    metrics = _quality(launch, predictor(open_session(scratch / GRAPH, torch.get_num_threads())))
    gate = launch.recipe.compress.gate
    candidate = Candidate(
        prune_ratio=ratio,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        metric=metrics[gate.metric],
        bytes=(scratch / GRAPH).stat().st_size,
        passed=gate.passes(before, metrics[gate.metric]),
    )
    return _Attempt(candidate, metrics)


def _publish(launch: CompressLaunch, trained: ArtifactManifest, scratch: Path, attempt: _Attempt) -> ArtifactManifest:
    """Make the artefact's folder in `scratch` and swap it in whole."""
    folder = scratch / COMPRESSED
    folder.mkdir()
    (scratch / GRAPH).rename(folder / GRAPH)
    (folder / RECIPE).write_text(launch.recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for name in COMPANIONS:
        if (launch.model / name).exists():
            shutil.copyfile(launch.model / name, folder / name)
    manifest = ArtifactManifest(
        kind="compressed",
        run_id=trained.run_id,
        recipe=launch.recipe.name,
        recipe_digest=launch.recipe.digest(),
        data_digests=trained.data_digests,
        code_version=code_version(),
        parents=(trained.digest(),),
        metrics=attempt.metrics,
        parameters=attempt.candidate.parameters,
        files=ArtifactManifest.of_files(folder),
    )
    manifest.save(folder / MANIFEST)
    (launch.output / RESULT).unlink(missing_ok=True)  # it speaks of the model that goes
    target = launch.output / COMPRESSED
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    return manifest
