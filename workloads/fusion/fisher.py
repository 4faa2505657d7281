"""`python -m workloads.fusion.fisher SPEC.json`: how sure a model is of each parameter, found where the data lies."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workloads.fusion.sources import MODEL_TAG
from workloads.fusion.tensor_files import shapes_of, write_tensors
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import FisherLaunch
from workloads.trainer.evaluation import held_out_batches
from workloads.trainer.model import load_model, logits, named_as_in_file

_CLASSES_IN_FULL = 16  # so many answers are all weighed by their probability; of more, one is drawn
_BYTES_PER_FP32 = 4


def diagonal_fisher(model: nn.Module, inputs: Iterable[NDArray[Any]], seed: int) -> dict[str, Tensor]:
    """`E_x E_{y ~ p(y|x)} (d log p(y|x) / d theta)^2` of each parameter, fp32, by its name.

    `inputs` are arrays of one sample each, [1, ...]. The expectation over y is the model's own, not the labels' (Kunstner
    et al., arXiv 1905.12558): exact where a sample has one answer of few classes, else by one draw for each answer.

    Raises:
        UserError: there are no samples, or a gradient is not finite.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    total = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in parameters.items()}
    source = torch.Generator().manual_seed(seed)
    samples = 0
    for sample in inputs:
        for weight, log_likelihood in _log_likelihoods(logits(model, torch.from_numpy(sample)), source):
            gradients = torch.autograd.grad(
                log_likelihood, list(parameters.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    total[name].addcmul_(gradient.float(), gradient.float(), value=weight)
        samples += 1
    if not samples:
        raise UserError("no held-out sample to find the Fisher information on; give the site data")
    for name, information in total.items():
        if not bool(information.isfinite().all()):
            raise UserError(f"the gradient of {name} is not finite, so the model is no good; train it again")
    return {name: information / samples for name, information in total.items()}


def _log_likelihoods(outputs: Tensor, source: torch.Generator) -> Iterator[tuple[float, Tensor]]:
    """Answers to one sample of logits [1, ..., classes]: how probable each is, and its log-likelihood."""
    log_chances = torch.log_softmax(outputs[0].float(), dim=-1).reshape(-1, outputs.shape[-1])
    chances = log_chances.detach().exp()
    if len(chances) == 1 and chances.shape[1] <= _CLASSES_IN_FULL:
        yield from ((float(chances[0, answer]), log_chances[0, answer]) for answer in range(chances.shape[1]))
    else:
        drawn = torch.multinomial(chances, 1, generator=source)
        yield 1.0, log_chances.gather(1, drawn).sum()


def estimate(launch: FisherLaunch) -> Mapping[str, Tensor]:
    """Write the diagonal of `launch.model` to `launch.output`, whole or not at all.

    Raises:
        UserError: the model is damaged, the site has no data, or the disk is full.
    """
    manifest = ArtifactManifest.load(launch.model / MANIFEST)
    manifest.verify(launch.model)
    model, recipe = load_model(launch.model)
    launch.output.parent.mkdir(parents=True, exist_ok=True)
    ensure_room(launch.output.parent, _BYTES_PER_FP32 * manifest.parameters, "the Fisher information")
    samples = (row for batch, _ in held_out_batches(recipe, launch.shard) for row in np.split(batch, len(batch)))
    diagonal = named_as_in_file(model, diagonal_fisher(model, islice(samples, launch.samples), launch.seed))
    scratch = launch.output.with_suffix(".tmp")
    write_tensors(scratch, shapes_of(diagonal), diagonal.items(), {MODEL_TAG: manifest.digest()})
    scratch.replace(launch.output)
    return diagonal


def main() -> None:
    """Estimate what the spec named on the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m workloads.fusion.fisher", description="Fisher information of a model."
    )
    parser.add_argument("spec", type=Path, help="a FisherLaunch as JSON")
    launch = FisherLaunch.load(parser.parse_args().spec)
    diagonal = estimate(launch)
    print(f"{len(diagonal)} tensors of Fisher information: {launch.output}", flush=True)  # noqa: T201


if __name__ == "__main__":
    run_command(main)
