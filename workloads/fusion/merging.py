"""A merge of whole models, tensor by tensor: at no time is more than one tensor of each in memory."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from workloads.fusion.methods import fisher_mean, task_vector, ties, weighted_mean
from workloads.fusion.sources import Source, Sources
from workloads.fusion.trimming import magnitude_threshold
from workloads.spec.errors import UserError
from workloads.spec.launch import FuseLaunch

MergeTensor = Callable[[str, Sequence[Tensor]], Tensor]  # its name and that of each model -> merged


def merged_tensors(models: Sequence[Source], merge: MergeTensor) -> Iterator[tuple[str, Tensor]]:
    """All tensors by `merge`, in the order of the first model's. Counts and positions must be equal everywhere.

    Raises:
        UserError: an integer tensor differs, or an element of a model is not finite.
    """
    for name, shape in models[0].tensors.shapes.items():
        tensors = [model.tensors.read(name) for model in models]
        if shape.is_floating:
            yield name, merge(name, tensors)
            continue
        for model, tensor in zip(models, tensors, strict=True):
            if not torch.equal(tensors[0], tensor):
                raise UserError(
                    f"{model.folder}: {name} holds other integers than in {models[0].folder}, which no mean fits"
                )
        yield name, tensors[0]


def merger(launch: FuseLaunch, sources: Sources, say: Callable[[str], None]) -> MergeTensor:
    """The method that `launch` names, but greedy soup, which is a weighted mean once its models are chosen."""
    if launch.method == "fisher":
        return _fisher(sources)
    if launch.method == "ties":
        return _ties(launch, sources, say)
    return mean_of(sources.weights)


def mean_of(weights: Sequence[float]) -> MergeTensor:
    """The weighted mean."""
    return lambda _name, tensors: weighted_mean(tensors, weights)


def _fisher(sources: Sources) -> MergeTensor:
    def merge(name: str, tensors: Sequence[Tensor]) -> Tensor:
        fishers = [model.fisher.read(name) for model in sources.models if model.fisher and name in model.fisher.shapes]
        if len(fishers) < len(tensors):  # a fixed buffer: nothing was learned in it
            return weighted_mean(tensors, sources.weights)
        return fisher_mean(tensors, fishers, sources.weights)

    return merge


def _ties(launch: FuseLaunch, sources: Sources, say: Callable[[str], None]) -> MergeTensor:
    base = sources.base
    if base is None:
        raise AssertionError("the launch lets no TIES through without a base")

    def vectors(model: Source) -> Iterator[Tensor]:
        for name, shape in model.tensors.shapes.items():
            if shape.is_floating:
                yield task_vector(base.read(name), model.tensors.read(name))

    thresholds = []
    for model in sources.models:
        thresholds.append(magnitude_threshold(partial(vectors, model), launch.density))
        say(f"{model.folder}: changes below {thresholds[-1]:.3g} are trimmed")
    return lambda name, tensors: ties(base.read(name), tensors, thresholds, launch.scale)
