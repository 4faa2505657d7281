"""A model cut into a pipeline's stages: each is the model with all blocks but its own taken out."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from workloads.spec.errors import UserError
from workloads.spec.plan import Layout, SitePlan
from workloads.trainer.layouts.anatomy import Absent, aliases

_STAGES_OF_A_RANK = {"1f1b": 1, "interleaved": 2}
_PROBE_TOKENS = 8


@dataclass(frozen=True)
class Cut:
    """Where a causal language model is cut. `first`, `blocks` and `last` are names of modules.

    `shapes` are those of the whole model's state, `tied` second names of parameters with the first ones.
    """

    first: tuple[str, ...]
    blocks: tuple[str, ...]
    last: tuple[str, ...]
    stages: int
    ranks: int
    shapes: Mapping[str, tuple[torch.Size, torch.dtype]]
    tied: Mapping[str, str]

    def absent(self, stage: int) -> list[str]:
        """Modules that `stage` does not have."""
        size = len(self.blocks) // self.stages
        names = [name for at, name in enumerate(self.blocks) if at // size != stage]
        return names + list(self.first if stage > 0 else ()) + list(self.last if stage < self.stages - 1 else ())

    def rank_of(self, name: str) -> int:
        """Pipeline rank that has the parameter or buffer `name`; what every stage has is the first's."""
        inside = (stage for stage in range(self.stages) if not _is_below(name, self.absent(stage)))
        return next(inside) % self.ranks

    def stage(self, model: nn.Module, stage: int) -> nn.Module:
        """A copy of `stage` of `model`, with the names that the whole model has."""
        with _without(model, self.absent(stage)):
            return copy.deepcopy(model)


def plan_cut(model: nn.Module, site: SitePlan) -> Cut:
    """Where to cut `model`, which is whole, for the layout of `site`.

    Raises:
        UserError: it cannot be cut, or not into so many stages, or a step has too few micro-batches for them.
    """
    layout = site.layout
    first, blocks, last = _sections(model, layout)
    stages = layout.pipeline * _STAGES_OF_A_RANK[layout.schedule]
    if len(blocks) % stages:
        each = _STAGES_OF_A_RANK[layout.schedule]
        fitting = [str(n) for n in range(1, len(blocks) + 1) if n == 1 or len(blocks) % (n * each) == 0]
        raise UserError(
            f"layout pp {layout.pipeline}: the model has {len(blocks)} blocks, which do not divide into {stages} "
            f"stages ({layout.schedule}); use pp {' or '.join(fitting)}"
        )
    _check_micro_batches(site)
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    cut = Cut(first, blocks, last, stages, layout.pipeline, shapes, aliases(model))
    _check_cut(model, cut, layout)
    return cut


def run_stage(model: nn.Module, value: Tensor, *, is_first: bool) -> Tensor:
    """What a stage makes of token ids [batch, tokens], the first one, or of hidden states [batch, tokens, features]."""
    inputs = {"input_ids" if is_first else "inputs_embeds": value}
    return cast("Tensor", model(**inputs, use_cache=False).logits)


def _sections(model: nn.Module, layout: Layout) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    plan = cast("dict[str, tuple[list[str], list[str]]]", getattr(model, "_pp_plan", None) or {})
    lists = [name for name in plan if isinstance(model.get_submodule(name), nn.ModuleList)]
    first = tuple(name for name, (inputs, _) in plan.items() if inputs == ["input_ids"])
    last = tuple(name for name in plan if name not in (*first, *lists))
    head = getattr(model, "lm_head", None)
    if len(lists) != 1 or not first or not last or head is None:
        raise UserError(
            f"layout pp {layout.pipeline}: no way is known to cut a {type(model).__name__} into stages; use pp 1"
        )
    count = len(cast("nn.ModuleList", model.get_submodule(lists[0])))
    return first, tuple(f"{lists[0]}.{index}" for index in range(count)), last


def _check_micro_batches(site: SitePlan) -> None:
    layout = site.layout
    share = site.batch // layout.data_ranks
    count = share // site.micro_batch
    if count < layout.pipeline:
        raise UserError(
            f"layout pp {layout.pipeline}: a step has {count} micro-batches of {site.micro_batch}, and as many as "
            f"stages are needed, {layout.pipeline}; use micro-batches of {max(1, share // layout.pipeline)} or less"
        )
    if layout.schedule == "interleaved" and count % (count // layout.pipeline):
        raise UserError(
            f"layout pp {layout.pipeline}, interleaved: {count} micro-batches do not divide into rounds of "
            f"{layout.pipeline}; use a multiple of {layout.pipeline}"
        )


@torch.no_grad()
def _check_cut(model: nn.Module, cut: Cut, layout: Layout) -> None:
    """Raises `UserError` unless the stages one after another make what the whole model makes.

    Some models do more to embeddings than look them up, and would do it again in every stage.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    tokens = torch.arange(_PROBE_TOKENS, device=device).unsqueeze(0) % cast("Any", model).config.vocab_size
    expected, value = run_stage(model, tokens, is_first=True), tokens
    for stage in range(cut.stages):
        with _without(model, cut.absent(stage)):
            value = run_stage(model, value, is_first=stage == 0)
    model.train(was_training)
    if not torch.allclose(value, expected, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"layout pp {layout.pipeline}: a {type(model).__name__} in stages does not compute what it does whole; "
            "use pp 1"
        )


@contextmanager
def _without(model: nn.Module, names: list[str]) -> Iterator[None]:
    present = {name: model.get_submodule(name) for name in names}
    for name in names:
        model.set_submodule(name, Absent())
    try:
        yield
    finally:
        for name, module in present.items():
            model.set_submodule(name, module)


def _is_below(name: str, modules: list[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)
