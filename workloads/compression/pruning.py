"""Structured pruning: whole hidden units go, with every weight that reads or writes them."""

import warnings
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from workloads.spec.errors import UserError
from workloads.spec.recipe import MlpModel, Recipe

TRANSFORMER_UNIT_STEP = 8  # int8 kernels read vectors of 8, so a width between multiples saves bytes but no time


def prune(model: nn.Module, recipe: Recipe, ratio: float) -> None:
    """Remove `ratio` of the hidden units in place: of the network, or of each transformer layer's MLP alike.

    The units that go are those of least group magnitude, the L2 norm over all weights that belong to a unit (DepGraph,
    arXiv 2301.12900). A transformer's width is rounded to the nearest multiple of `TRANSFORMER_UNIT_STEP`.

    Raises:
        UserError: no hidden unit would be left, or the architecture has no MLP that is known here.
    """
    expanding = _expanding_layers(model, recipe)
    width = expanding[0].out_features
    step = 1 if isinstance(recipe.model, MlpModel) else TRANSFORMER_UNIT_STEP
    kept = round(width * (1 - ratio) / step) * step
    if kept < 1:
        raise UserError(f"prune ratio {ratio} leaves none of {width} hidden units; choose at most {1 - step / width:g}")
    if kept >= width:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks how to prune the norms' scales, which no hidden unit reaches
        graph = tp.DependencyGraph().build_dependency(model, example_inputs=example_inputs(recipe))
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    for layer in expanding:
        group = graph.get_pruning_group(layer, tp.prune_linear_out_channels, idxs=list(range(width)))
        weakest = importance(group).argsort()[: width - kept].tolist()
        graph.get_pruning_group(layer, tp.prune_linear_out_channels, idxs=weakest).prune()
    config: Any = getattr(model, "config", None)
    if config is not None:
        config.intermediate_size = kept


def example_inputs(recipe: Recipe) -> Tensor:
    """Inputs of the least batch that a tracer does not take for a constant: features [2, inputs] or ids [2, 8]."""
    if isinstance(recipe.model, MlpModel):
        return torch.zeros(2, recipe.model.inputs)
    return torch.zeros(2, 8, dtype=torch.int64)


def _expanding_layers(model: nn.Module, recipe: Recipe) -> list[nn.Linear]:
    """The layers whose output channels are the hidden units."""
    named = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if isinstance(recipe.model, MlpModel):
        return [module for _, module in named[:-1]]
    gates = [module for name, module in named if name.endswith(".gate_proj")]
    if not gates:
        raise UserError(
            f"model_type {recipe.model.config.get('model_type')!r} has no gated MLP to prune; "
            "set compress.prune_ratios to [0.0], or choose a Llama architecture"
        )
    return gates
