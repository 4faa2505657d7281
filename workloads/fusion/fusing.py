"""A fusion from its launch to its artefact."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from workloads.fusion.merging import MergeTensor, mean_of, merged_tensors, merger
from workloads.fusion.soup import greedy_soup
from workloads.fusion.sources import Source, Sources, open_sources
from workloads.fusion.tensor_files import TensorShape, write_tensors
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.disk import ensure_room
from workloads.spec.launch import FuseLaunch
from workloads.trainer.evaluation import score
from workloads.trainer.model import WEIGHTS, load_model, predictor
from workloads.trainer.publish import code_version
from workloads.trainer.shard_files import verify_shard

Say = Callable[[str], None]

FUSED = "model"  # folder of the artefact in the launch's output
_TENTHS = 10


def fuse(launch: FuseLaunch, say: Say) -> ArtifactManifest:
    """Write the fused model to `launch.output / "model"`, whole or not at all; its parents are the sources.

    Raises:
        UserError: the sources do not fit each other or the shards, an element is not finite, or the disk is full.
    """
    sources = open_sources(launch)
    _check_shards(launch, sources)
    models, merge = sources.models, merger(launch, sources, say)
    if launch.method == "greedy-soup":
        models = _choose(launch, sources, say)
        merge = mean_of([1 / len(models)] * len(models))
    scratch = launch.output / ".building"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _write_model(models, merge, scratch, say)
        manifest = _write_manifest(launch, models, scratch)
        target = launch.output / FUSED
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _check_shards(launch: FuseLaunch, sources: Sources) -> None:
    for site, shard in launch.shards.items():
        for model in sources.models:
            if site in model.manifest.data_digests:
                verify_shard(shard, model.manifest.data_digests[site])


def _choose(launch: FuseLaunch, sources: Sources, say: Say) -> tuple[Source, ...]:
    """The models of the greedy soup, judged by the recipe's gate metric on the held-out data of all shards."""
    models, recipe = sources.models, sources.models[0].recipe
    metric = recipe.compress.gate.metric
    launch.output.mkdir(parents=True, exist_ok=True)

    def quality_of(chosen: tuple[int, ...]) -> float:
        members = [models[index] for index in chosen]
        # by way of a file, because a file's tensors may have other names and shapes than the parameters they become
        with TemporaryDirectory(dir=launch.output, prefix=".candidate-") as folder:
            _write_model(members, mean_of([1 / len(members)] * len(members)), Path(folder), _say_nothing)
            judge, _ = load_model(Path(folder))
            quality = score(recipe, predictor(judge, torch.device("cpu")), launch.shards)[metric]
        say(f"{' + '.join(model.manifest.run_id for model in members)}: {metric} {quality:.4f}")
        return quality

    alone = [quality_of((index,)) for index in range(len(models))]
    chosen = greedy_soup(alone, quality_of, higher_is_better=recipe.compress.gate.higher_is_better)
    say(f"the soup has {len(chosen)} of {len(models)} models")
    return tuple(models[index] for index in chosen)


def _say_nothing(_line: str) -> None:
    """How far a candidate is written is no news."""


def _write_model(models: Sequence[Source], merge: MergeTensor, folder: Path, say: Say) -> None:
    first = models[0]
    shapes = first.tensors.shapes
    ensure_room(folder, sum(shape.size_bytes for shape in shapes.values()), "the fused model")
    for name in first.manifest.files:
        if ".safetensors" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(first.folder / name, folder / name)
    tensors = _with_progress(shapes, merged_tensors(models, merge), say)
    write_tensors(folder / WEIGHTS, shapes, tensors, {"format": "pt"})


def _with_progress(
    shapes: Mapping[str, TensorShape], tensors: Iterator[tuple[str, Tensor]], say: Say
) -> Iterator[tuple[str, Tensor]]:
    """`tensors`, saying at each tenth of the bytes how far it is."""
    total = sum(shape.size_bytes for shape in shapes.values())
    done, told = 0, 0
    for count, (name, tensor) in enumerate(tensors, start=1):
        yield name, tensor
        done += shapes[name].size_bytes
        if _TENTHS * done // max(total, 1) > told:
            told = _TENTHS * done // total
            say(f"{count} of {len(shapes)} tensors, {done:,} of {total:,} bytes")


def _write_manifest(launch: FuseLaunch, models: Sequence[Source], folder: Path) -> ArtifactManifest:
    first = models[0]
    metrics = {}
    if launch.shards:
        model, recipe = load_model(folder)
        metrics = score(recipe, predictor(model, torch.device("cpu")), launch.shards)
    manifest = ArtifactManifest(
        kind="fused",
        run_id=launch.run_id,
        recipe=first.recipe.name,
        recipe_digest=first.manifest.recipe_digest,
        data_digests={site: digest for source in models for site, digest in source.manifest.data_digests.items()},
        code_version=code_version(),
        parents=tuple(source.manifest.digest() for source in models),
        metrics=metrics,
        parameters=first.manifest.parameters,
        files=ArtifactManifest.of_files(folder),
    )
    manifest.save(folder / MANIFEST)
    return manifest
