"""From torch to ONNX with dynamic batch and sequence, and from fp32 to int8 weights."""

import logging
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from workloads.compression.pruning import example_inputs
from workloads.spec.recipe import MlpModel, Recipe
from workloads.trainer.model import logits


class _Logits(nn.Module):
    """The model as a function of one tensor to one tensor, which is what a graph's signature is made from."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return logits(self.model, inputs)


def export_onnx(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write `model` as ONNX, one file.

    mlp: `features` float32 [batch, inputs] -> `logits` float32 [batch, classes].
    causal-lm: `input_ids` int64 [batch, sequence] -> `logits` float32 [batch, sequence, vocabulary].
    """
    table = isinstance(recipe.model, MlpModel)
    extents = {0: torch.export.Dim("batch")} | ({} if table else {1: torch.export.Dim("sequence")})
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)  # it warns of operators of packages that are not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside the exporter
            torch.onnx.export(
                _Logits(model).eval(),
                (example_inputs(recipe),),
                path,
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=["features" if table else "input_ids"],
                output_names=["logits"],
                dynamic_shapes=(extents,),
            )
    finally:
        exporter_log.setLevel(level)


def quantise(source: Path, target: Path) -> None:
    """Write `source` with int8 weights, one scale for each output channel; activations are quantised as they come."""
    prepared = target.with_suffix(".prepared.onnx")
    root_log = logging.getLogger()
    level = root_log.level
    root_log.setLevel(logging.ERROR)  # it recommends the preparation that it is given
    try:
        quant_pre_process(source, prepared)
        quantize_dynamic(prepared, target, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        root_log.setLevel(level)
        prepared.unlink(missing_ok=True)
    onnx.checker.check_model(target)
