"""Model, optimizer and batches of a task: the part that is the same whatever the method."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Muon, Optimizer

from tests.bench.wan.jobs import SITES, Task
from tests.bench.wan.texts import library_text, windows

_FINAL_FRACTION = 0.1
_JUDGED_AT_ONCE = 16
_VALIDATION_SEED = 1


def build_model(task: Task) -> nn.Module:
    """The task's model, with the same weights in every process."""
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415 - seconds that the parent need not wait

    torch.manual_seed(task.seed)
    config = AutoConfig.for_model(**task.model, use_cache=False, bos_token_id=None, eos_token_id=None)
    model: nn.Module = AutoModelForCausalLM.from_config(config)
    return model


def build_optimizers(task: Task, model: nn.Module) -> list[Optimizer]:
    """AdamW for all, or Muon for the hidden matrices and AdamW for the rest (MuLoCo, arXiv 2505.23725)."""
    if task.optimizer == "adamw":
        return [AdamW(model.parameters(), lr=task.lr, weight_decay=0.0, fused=True)]
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    hidden = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    chosen = {id(parameter) for parameter in hidden}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    muon = Muon(hidden, lr=task.lr, weight_decay=0.0, momentum=task.muon_momentum, adjust_lr_fn="match_rms_adamw")
    return [muon, AdamW(rest, lr=task.lr, weight_decay=0.0, fused=True)]


def set_learning_rate(task: Task, optimizers: Sequence[Optimizer], step: int) -> None:
    """Use the rate of `step`, counted from 0."""
    rate = task.lr * min(1.0, (step + 1) / max(1, task.warmup_steps))
    if task.schedule == "cosine" and step >= task.warmup_steps:
        progress = min(1.0, (step - task.warmup_steps) / max(1, task.steps - task.warmup_steps))
        rate *= _FINAL_FRACTION + (1 - _FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


class Batches:
    """A site's own batches, by step."""

    def __init__(self, task: Task, site: int) -> None:
        self._task = task
        self._site = site
        self._text = library_text(SITES[site])

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [batch, context]."""
        seed = ((self._task.seed + 1) * 1_000_003 + step) * len(SITES) + self._site
        return windows(self._text, self._task.batch, self._task.context, seed)


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats a byte."""
    output: Any = model(inputs)
    return cross_entropy(output.logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def validation_loss(task: Task, model: nn.Module) -> float:
    """Loss on windows that no site trains on, the same for all methods."""
    inputs, targets = windows(
        library_text("validation"), task.validation_windows, task.context, task.seed + _VALIDATION_SEED
    )
    pieces = zip(inputs.split(_JUDGED_AT_ONCE), targets.split(_JUDGED_AT_ONCE), strict=True)
    total = sum(float(batch_loss(model, *piece)) * len(piece[0]) for piece in pieces)
    return total / task.validation_windows
