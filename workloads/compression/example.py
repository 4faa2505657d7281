"""What each kind of model is given: the name of its one input and an example of it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workloads.inference.session import CONTEXT, VOCABULARY
from workloads.spec.data import AudioData, ImageData, LabelledTextData, TextData
from workloads.spec.recipe import MlpModel, Recipe

_ROWS, _TOKENS = 2, 8  # of the least size that a tracer does not take for a constant


@dataclass(frozen=True)
class GraphInput:
    """The input of a model's graph; the extents named in `free`, by their place, are chosen by each request."""

    name: str
    example: Tensor
    free: dict[int, str]


def graph_input(recipe: Recipe) -> GraphInput:
    """The input of the recipe's model, by the kind of its data.

    `features` [batch, inputs], `input_ids` [batch, sequence], `pixel_values` [batch, channels, size, size] or
    `input_values` [batch, samples]; ids are int64, all else float32. Recordings are as long as those that it learned on.
    """
    data, batch = recipe.data, {0: "batch"}
    if isinstance(recipe.model, MlpModel):
        return GraphInput("features", torch.zeros(_ROWS, recipe.model.inputs), batch)
    if isinstance(data, ImageData):
        return GraphInput("pixel_values", torch.zeros(_ROWS, data.channels, data.size, data.size), batch)
    if isinstance(data, AudioData):
        return GraphInput("input_values", torch.zeros(_ROWS, round(data.rate_hz * data.seconds)), batch)
    return GraphInput("input_ids", torch.ones(_ROWS, _TOKENS, dtype=torch.int64), {**batch, 1: "sequence"})


def text_facts(model: nn.Module, recipe: Recipe) -> dict[str, str]:
    """What a replica has to know of a text model to refuse what it cannot read; empty for other models.

    A language model reads as many tokens as it has positions for, a classifier as many as it learned on.
    """
    if not isinstance(recipe.data, TextData | LabelledTextData):
        return {}
    config: Any = transformer_within(model).config
    learned = recipe.data.context
    positions = getattr(config, "max_position_embeddings", learned) if isinstance(recipe.data, TextData) else learned
    return {CONTEXT: str(positions), VOCABULARY: str(config.vocab_size)}


def transformer_within(model: nn.Module) -> Any:
    """The model of `transformers` itself, which may be wrapped."""
    from transformers import PreTrainedModel  # noqa: PLC0415 - seconds that tables need not wait

    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))
