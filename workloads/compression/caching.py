"""Keys and values of what was read before, as inputs and outputs of a graph, so that no token is computed twice."""

from typing import Any

import torch
from torch import Tensor, nn

from workloads.compression.example import transformer_within
from workloads.spec.recipe import Recipe, TransformersModel

_PAST = 5  # tokens in the example's cache: no extent of the input's, so that the tracer keeps them apart


class Cached(nn.Module):
    """A causal language model with its cache spelled out.

    (ids int64 [batch, sequence], past) -> (logits [batch, sequence, vocabulary], *present), where past and present are
    keys and values of each layer in turn, [batch, heads, past, size] and [batch, heads, past + sequence, size].
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = transformer_within(model)

    def forward(self, input_ids: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        from transformers import DynamicCache  # noqa: PLC0415 - seconds that tables need not wait

        cache = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        answer = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True)
        return answer.logits, *(half for layer in answer.past_key_values.layers for half in (layer.keys, layer.values))


def past_example(model: nn.Module, recipe: Recipe, ids: Tensor) -> list[Tensor]:
    """A cache for `Cached` as an example; empty if the model is no language model, or keeps another kind of state.

    Layers that forget (sliding windows) or that keep no keys (state-space models) have to read the whole text again.
    """
    if not isinstance(recipe.model, TransformersModel) or recipe.model.auto != "causal-lm":
        return []
    from transformers import DynamicCache  # noqa: PLC0415
    from transformers.cache_utils import DynamicLayer  # noqa: PLC0415

    with torch.no_grad():
        cache: Any = getattr(transformer_within(model)(input_ids=ids, use_cache=True), "past_key_values", None)
    if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return []
    halves = [half for layer in cache.layers for half in (layer.keys, layer.values)]
    return [half.new_zeros(half.shape[0], half.shape[1], _PAST, half.shape[3]) for half in halves]
