"""Structured pruning: whole hidden units go, with every weight that reads or writes them."""

from typing import Any

import torch_pruning as tp
from torch import nn

from workloads.compression.feed_forward import feed_forwards
from workloads.spec.errors import UserError
from workloads.spec.recipe import MlpModel, Recipe

TRANSFORMER_UNIT_STEP = 8  # int8 kernels read vectors of 8, so a width between multiples saves bytes but no time


def prune(model: nn.Module, recipe: Recipe, ratio: float) -> None:
    """Remove `ratio` of the hidden units in place: of the network, or of each transformer layer's feed-forward part alike.

    The units that go are those of least group magnitude, the L2 norm over all weights that belong to a unit (DepGraph,
    arXiv 2301.12900). A transformer's width is rounded to the nearest multiple of `TRANSFORMER_UNIT_STEP`.

    Raises:
        UserError: no hidden unit would be left, or the architecture has no feed-forward part that is known here.
    """
    pairs = feed_forwards(model)
    if not pairs:
        if ratio == 0:
            return
        raise UserError(
            f"recipe {recipe.name}: no block of this architecture is a feed-forward pair of linear layers, which is what "
            "can be pruned; set compress.prune_ratios to [0.0]"
        )
    step = 1 if isinstance(recipe.model, MlpModel) else TRANSFORMER_UNIT_STEP
    for pair in pairs:
        kept = round(pair.units * (1 - ratio) / step) * step
        if kept < 1:
            raise UserError(
                f"prune ratio {ratio} leaves none of {pair.units} hidden units; choose at most {1 - step / pair.units:g}"
            )
        weakest = pair.magnitudes().argsort()[: max(0, pair.units - kept)].tolist()
        for layer in pair.expanding:
            tp.prune_linear_out_channels(layer, weakest)
        tp.prune_linear_in_channels(pair.contracting, weakest)
    _note_width(model, pairs[0].units)


def _note_width(model: nn.Module, units: int) -> None:
    """Say in the configurations of `transformers` how wide the feed-forward parts are now."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "intermediate_size"):
            config.intermediate_size = units
