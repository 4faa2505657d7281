"""Tensor parallel: matrices divided by rows and columns, as in Megatron-LM (arXiv 1909.08053).

What is divided how comes from the model's own plan in `transformers`, or from the table below. All else, norms first of
all, is whole on every rank, where the same inputs give it the same gradients.
"""

from fnmatch import fnmatchcase
from typing import cast

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from workloads.spec.errors import UserError
from workloads.trainer.layouts.anatomy import aliases, heads

_PLANS: dict[str, dict[str, str]] = {
    "Mlp": {"hidden": "colwise", "output": "rowwise"},
    "ViTForImageClassification": {
        "vit.layers.*.attention.q_proj": "colwise",
        "vit.layers.*.attention.k_proj": "colwise",
        "vit.layers.*.attention.v_proj": "colwise",
        "vit.layers.*.attention.o_proj": "rowwise",
        "vit.layers.*.mlp.fc1": "colwise",
        "vit.layers.*.mlp.fc2": "rowwise",
    },
}
_VOCABULARY = ("embedding_rowwise", "colwise_gather_output")  # both divide the rows of what may be one matrix
# a norm of each head: every rank has some of the heads, so its gradient is a sum over ranks
_OF_HEADS = "replicated_with_grad_allreduce"
_HEAD_DIM = 2  # of [batch, tokens, heads, features]


def check_tensor(model: nn.Module, degree: int) -> None:
    """Raises `UserError` unless `model`, which is whole, can be divided among `degree` tensor-parallel ranks."""
    plan = _plan(model, degree)
    if not plan:
        raise UserError(f"layout tp {degree}: no way is known to divide a {type(model).__name__}; use tp 1 and fsdp")
    for style in _patterns(model).values():
        if style not in _styles():
            raise UserError(
                f"layout tp {degree}: a {type(model).__name__} is to be divided in a way that is not known, {style}; "
                "use tp 1 and fsdp"
            )
    for number in heads(model):
        if number % degree:
            raise UserError(
                f"layout tp {degree}: {number} attention heads do not divide; use tp {_divisors(*heads(model))}"
            )
    for name, style in plan.items():
        module = model.get_submodule(name)
        width = _width(module, style)
        if width % degree:
            raise UserError(f"layout tp {degree}: {name} is {width} wide, which does not divide; use a divisor of it")


def divide(model: nn.Module, mesh: DeviceMesh) -> None:
    """Divide `model`, or a stage of it, in place among the ranks of `mesh`."""
    tied = aliases(model)
    styles = _styles()
    parallelize_module(model, mesh, {name: styles[style] for name, style in _plan(model, mesh.size()).items()})
    for second, first in tied.items():
        path, _, leaf = second.rpartition(".")
        model.get_submodule(path).register_parameter(leaf, model.get_parameter(first))


def _plan(model: nn.Module, degree: int) -> dict[str, str]:
    """Style by module. A vocabulary that does not divide is left whole."""
    patterns = _patterns(model)
    plan = {}
    for name, module in model.named_modules():
        style = next((style for pattern, style in patterns.items() if fnmatchcase(name, pattern)), None)
        is_whole = style in _VOCABULARY and _width(module, style) % degree != 0
        if style is not None and not is_whole and any(True for _ in module.parameters(recurse=False)):
            plan[name] = style
    return plan


def _patterns(model: nn.Module) -> dict[str, str]:
    own = cast("dict[str, str] | None", getattr(model, "tp_plan", None))
    return _PLANS.get(type(model).__name__) or own or {}


def _styles() -> dict[str, ParallelStyle]:
    return {
        "colwise": ColwiseParallel(),
        "rowwise": RowwiseParallel(),
        "colwise_gather_output": ColwiseParallel(output_layouts=Replicate()),
        "rowwise_split_input": RowwiseParallel(input_layouts=Replicate()),
        "embedding_rowwise": RowwiseParallel(input_layouts=Replicate()),
        _OF_HEADS: SequenceParallel(sequence_dim=_HEAD_DIM, use_local_output=True),
    }


def _width(module: nn.Module, style: str) -> int:
    """What is divided: 0 where nothing is."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings
    if isinstance(module, nn.Linear):
        return module.in_features if style.startswith("rowwise") else module.out_features
    return 0


def _divisors(*numbers: int) -> str:
    common = [str(n) for n in range(1, min(numbers) + 1) if all(number % n == 0 for number in numbers)]
    return ", ".join(common[:-1]) + (" or " if len(common) > 1 else "") + common[-1]
