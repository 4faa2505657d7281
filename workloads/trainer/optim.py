"""The inner optimizer and its schedule. The learning rate is a function of the step, so it needs no state of its own."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from workloads.spec.recipe import InnerSpec

_FINAL_FRACTION = 0.1  # of the peak, where a cosine schedule ends (as in Chinchilla, arXiv 2203.15556)


def build_optimizer(spec: InnerSpec, model: nn.Module) -> Optimizer:
    """The optimizer of `spec`; weight decay holds for matrices alone, not for biases and norms."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.optimizer == "adamw":
        return AdamW(groups, lr=spec.lr, fused=True)
    return SGD(groups, lr=spec.lr)


def learning_rate(spec: InnerSpec, step: int, steps: int) -> float:
    """Learning rate of `step`, counted from 0, of `steps` in the whole run; steps beyond them get the last rate."""
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    if spec.schedule == "constant":
        return spec.lr
    progress = min(1.0, (step - spec.warmup_steps) / max(1, steps - spec.warmup_steps))
    return spec.lr * (_FINAL_FRACTION + (1 - _FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use `rate` for all parameters from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
