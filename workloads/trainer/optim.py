"""The inner optimizer and its schedule. The learning rate is a function of the step, so it needs no state of its own."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import SGD, AdamW, Muon, Optimizer

from workloads.spec.recipe import InnerSpec
from workloads.trainer.layouts.muon import ShardedMuon
from workloads.trainer.parallelise import ParallelModel

_FINAL_FRACTION = 0.1  # of the peak, where a cosine schedule ends (as in Chinchilla, arXiv 2203.15556)


class Optimizers:
    """Several optimizers, each with parameters of its own, as one.

    The state is there from the beginning, keyed by parameter name, and divided as the parameters are: what a layout
    saves another can load.
    """

    def __init__(self, optimizers: Iterable[Optimizer], parameters: Mapping[str, Tensor]) -> None:
        self._optimizers = list(optimizers)
        self._names = {parameter: name for name, parameter in parameters.items()}
        for optimizer in self._optimizers:
            _begin(optimizer)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of all optimizers, to be changed in place."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """One step of each. All ranks of the site make it together."""
        for optimizer in self._optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Tensor]:
        """The state by `<parameter>.<moment>`: the tensors themselves, to be saved or to be loaded into."""
        return {
            f"{self._names[parameter]}.{moment}": tensor
            for optimizer in self._optimizers
            for parameter, moments in optimizer.state.items()
            for moment, tensor in moments.items()
            if isinstance(tensor, Tensor)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take on `state`, as `state_dict` gave it in the same layout. Raises `KeyError` if something is missing."""
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                tensor.copy_(state[name])


def build_optimizer(spec: InnerSpec, parallel: ParallelModel) -> Optimizers:
    """The optimizer of `spec` for this rank's parameters; weight decay holds for matrices alone, not for biases and norms.

    Muon takes the hidden matrices and AdamW the rest. Its updates are scaled to the size of AdamW's
    (`match_rms_adamw`: 0.2 sqrt(max(rows, columns)), Moonlight, arXiv 2502.16982), so one learning rate serves both.
    """
    trained = {name: p for name, p in parallel.parameters.items() if p.requires_grad}
    hidden = {name for name in trained if spec.optimizer == "muon" and name in parallel.hidden_matrices}
    others = [parameter for name, parameter in trained.items() if name not in hidden]
    groups = _groups(others, spec.weight_decay)
    optimizers: list[Optimizer] = []
    if groups:
        optimizers.append(SGD(groups, lr=spec.lr) if spec.optimizer == "sgd" else AdamW(groups, lr=spec.lr, fused=True))
    for kind, is_divided in ((Muon, False), (ShardedMuon, True)):
        matrices = [trained[name] for name in trained if name in hidden]
        matrices = [matrix for matrix in matrices if isinstance(matrix, DTensor) == is_divided]
        if matrices:
            optimizers.append(
                kind(
                    matrices,
                    lr=spec.lr,
                    weight_decay=spec.weight_decay,
                    momentum=spec.muon_momentum,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
    return Optimizers(optimizers, trained)


def learning_rate(spec: InnerSpec, step: int, steps: int) -> float:
    """Learning rate of `step`, counted from 0, of `steps` in the whole run; steps beyond them get the last rate."""
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    if spec.schedule == "constant":
        return spec.lr
    progress = min(1.0, (step - spec.warmup_steps) / max(1, steps - spec.warmup_steps))
    return spec.lr * (_FINAL_FRACTION + (1 - _FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimizer: Optimizers, rate: float) -> None:
    """Use `rate` for all parameters from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _groups(parameters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Groups by weight decay, and by mesh: what is updated in one call has to be divided over the same ranks."""
    groups: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
        groups.setdefault((parameter.ndim > 1, mesh), []).append(parameter)
    return [
        {"params": alike, "weight_decay": weight_decay if is_matrix else 0.0}
        for (is_matrix, _), alike in groups.items()
    ]


def _begin(optimizer: Optimizer) -> None:
    """Have `optimizer` make its state, as its first step would, and change nothing else."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if isinstance(optimizer, Muon):
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for moments in optimizer.state.values():
        if "step" in moments:
            moments["step"].zero_()
