"""The models that a fusion starts from, verified and found to be of one architecture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workloads.fusion.tensor_files import TensorFiles
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.errors import UserError
from workloads.spec.launch import FuseLaunch, FuseSource
from workloads.spec.recipe import Recipe
from workloads.trainer.finished import RECIPE

MODEL_TAG = "model"  # in the metadata of a Fisher file: digest of the manifest of the model that it is of


@dataclass(frozen=True)
class Source:
    """One verified model."""

    folder: Path
    manifest: ArtifactManifest
    recipe: Recipe
    tensors: TensorFiles
    fisher: TensorFiles | None


@dataclass(frozen=True)
class Sources:
    """All models of a fusion, in the launch's order, and the model that they began as where the method needs it."""

    models: tuple[Source, ...]
    weights: tuple[float, ...]  # sum up to 1
    base: TensorFiles | None


def open_sources(launch: FuseLaunch) -> Sources:
    """What `launch` names.

    Raises:
        UserError: a model is damaged, or two are not of one architecture; the first difference is named.
    """
    models = tuple(_open(source) for source in launch.sources)
    first = models[0]
    for other in models[1:]:
        _check_architecture(first, other)
    for model in models:
        if model.fisher is not None:
            _check_fisher(model, model.fisher)
    _check_data(models)
    base = TensorFiles(launch.base) if launch.base is not None else None
    if base is not None:
        _check_tensors(first.tensors, base)
    return Sources(models, fusion_weights(launch), base)


def fusion_weights(launch: FuseLaunch) -> tuple[float, ...]:
    """Each source's weight, sum 1: as given, else by samples, else equal."""
    if launch.weights is not None:
        return tuple(weight / sum(launch.weights) for weight in launch.weights)
    samples = [source.samples or 1 for source in launch.sources]
    return tuple(count / sum(samples) for count in samples)


def _open(source: FuseSource) -> Source:
    manifest = ArtifactManifest.load(source.model / MANIFEST)
    manifest.verify(source.model)
    if manifest.kind == "compressed":
        raise UserError(f"{source.model} is a compressed model; fuse trained ones, and compress the result")
    return Source(
        folder=source.model,
        manifest=manifest,
        recipe=Recipe.load(source.model / RECIPE),
        tensors=TensorFiles(source.model),
        fisher=TensorFiles(source.fisher) if source.fisher is not None else None,
    )


def _check_architecture(first: Source, other: Source) -> None:
    if first.recipe.model != other.recipe.model:
        raise UserError(
            f"{other.folder} ({other.recipe.name}) is of another architecture than {first.folder} "
            f"({first.recipe.name}): {_first_difference(first.recipe, other.recipe)}; fuse models of one architecture"
        )
    _check_tensors(first.tensors, other.tensors)
    for name in first.manifest.files.keys() & other.manifest.files.keys():
        if name.startswith(("labels", "tokenizer")) and first.manifest.files[name] != other.manifest.files[name]:
            raise UserError(
                f"{name} of {other.folder} differs from that of {first.folder}, so the same numbers mean other things; "
                "train both with the same classes and tokens"
            )


def _first_difference(first: Recipe, other: Recipe) -> str:
    ours, theirs = _leaves(first.model.model_dump()), _leaves(other.model.model_dump())
    key = min(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return f"{key} is {theirs.get(key)}, not {ours.get(key)}"


def _leaves(tree: dict[str, object]) -> dict[str, object]:
    config = tree.pop("config", {})
    nested = config if isinstance(config, dict) else {}
    return tree | {f"config.{key}": value for key, value in nested.items()}


def _check_data(models: Sequence[Source]) -> None:
    """A fused model's manifest names the data of each site once."""
    seen: dict[str, Source] = {}
    for model in models:
        for site, digest in model.manifest.data_digests.items():
            other = seen.setdefault(site, model)
            if other.manifest.data_digests[site] != digest:
                raise UserError(
                    f"{model.folder} learned from other data of site {site} than {other.folder}; "
                    "fuse models of the same data, or of sites of their own"
                )


def _check_tensors(first: TensorFiles, other: TensorFiles) -> None:
    for name in sorted(first.shapes.keys() | other.shapes.keys()):
        ours, theirs = first.shapes.get(name), other.shapes.get(name)
        if theirs is None or ours is None:
            where = other if theirs is None else first
            raise UserError(f"{where.path} has no tensor {name}; fuse models of one architecture")
        if ours != theirs:
            raise UserError(
                f"{other.path}: {name} is {theirs.dtype} {list(theirs.shape)}, in {first.path} {ours.dtype} "
                f"{list(ours.shape)}; fuse models of one architecture and precision"
            )


def _check_fisher(model: Source, fisher: TensorFiles) -> None:
    if fisher.metadata.get(MODEL_TAG) != model.manifest.digest():
        raise UserError(
            f"{fisher.path} is the Fisher information of another model than {model.folder}; make it again with "
            "`python -m workloads.fusion.fisher`"
        )
    for name, shape in model.tensors.shapes.items():
        found = fisher.shapes.get(name)
        if shape.is_floating and found is not None and found.shape != shape.shape:
            raise UserError(
                f"{fisher.path}: {name} is {list(found.shape)}, the model's is {list(shape.shape)}; remake it"
            )
