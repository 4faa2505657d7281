"""From torch to ONNX with extents that requests choose, and from fp32 to int8 weights."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.registry import IntegerOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from workloads.compression.caching import Cached, past_example
from workloads.compression.example import GraphInput, graph_input
from workloads.spec.recipe import Recipe
from workloads.trainer.model import logits

# Convolutions keep fp32: few weights are theirs, and int8 ones are slower on CPUs (a wav2vec2's by a third).
_QUANTISED = sorted(set(IntegerOpsRegistry) - {"Conv"})


class _Logits(nn.Module):
    """The model as a function of one tensor to one tensor, which is what a graph's signature is made from."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return logits(self.model, inputs)


def export_onnx(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as ONNX, one file: the input of `graph_input` -> `logits` float32 [batch, ..., classes].

    A causal language model that keeps a plain cache also takes `past.0`, `past.1`, ... float32
    [batch, heads, past, size], keys and values of each layer in turn, and gives `present.0`, ... with its input's added.
    """
    source = graph_input(recipe)
    past = past_example(model, recipe, source.example)
    with _quiet("torch.onnx"):
        if past:
            names = [str(place) for place in range(len(past))]
            free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("past")}
            _export(
                Cached(model),
                (source.example, past),
                path,
                input_names=[source.name, *(f"past.{name}" for name in names)],
                output_names=["logits", *(f"present.{name}" for name in names)],
                dynamic_shapes=(_extents(source) | {0: free[0]}, [free] * len(past)),
            )
        else:
            _export(
                _Logits(model),
                (source.example,),
                path,
                input_names=[source.name],
                output_names=["logits"],
                dynamic_shapes=(_extents(source),),
            )


def quantise(source: Path, target: Path, facts: Mapping[str, str] | None = None) -> None:
    """Write `source` with int8 weights, one scale for each output channel; activations are quantised as they come.

    `facts` become the graph's metadata.
    """
    prepared = target.with_suffix(".prepared.onnx")
    try:
        with _quiet(None):  # it recommends the preparation that it is given
            quant_pre_process(source, prepared, skip_symbolic_shape=True)  # which fails on sequences of any length
            quantize_dynamic(
                prepared, target, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=_QUANTISED
            )
    finally:
        prepared.unlink(missing_ok=True)
    graph = onnx.load(target)
    onnx.helper.set_model_props(graph, dict(facts or {}))
    onnx.save(graph, target)
    onnx.checker.check_model(target)


def _export(model: nn.Module, example: tuple[Any, ...], path: Path, **signature: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        torch.onnx.export(model.eval(), example, path, dynamo=True, verbose=False, external_data=False, **signature)


def _extents(source: GraphInput) -> dict[int, Any]:
    return {place: torch.export.Dim(name) for place, name in source.free.items()}


@contextmanager
def _quiet(logger: str | None) -> Iterator[None]:
    """Only errors of `logger`: the exporter warns of operators of packages that are not installed."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
