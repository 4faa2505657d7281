"""Muon on matrices of which each rank has a part."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from workloads.trainer.layouts.flat import local


class ShardedMuon(torch.optim.Muon):
    """`torch.optim.Muon` for DTensors. All ranks that share a matrix step together.

    Momentum stays divided as the parameter is. The update is orthogonalised whole, for the Newton-Schulz iteration of a
    part is not a part of the whole's: it is gathered for that, one matrix at a time.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step. A closure is not called: gradients are there already."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)

    def _step(self, parameter: DTensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        gradient, momentum = local(parameter.grad), local(state["momentum_buffer"])  # type: ignore[arg-type]
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        change = _as_its_part(_orthogonal_change(_whole(update, parameter), group), parameter)
        local(parameter).mul_(1 - group["lr"] * group["weight_decay"]).add_(change)


def _orthogonal_change(update: Tensor, group: dict[str, Any]) -> Tensor:
    """What `torch.optim.Muon` adds to a matrix for the momentum `update` [rows, columns]."""
    change = torch.zeros_like(update)
    change.grad = update
    settings = {key: group[key] for key in ("lr", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")}
    optimizer = torch.optim.Muon([change], weight_decay=0.0, momentum=0.0, nesterov=False, **settings)
    cast("Any", optimizer).step()
    return change


def _whole(values: Tensor, parameter: DTensor) -> Tensor:
    mesh, placements = parameter.device_mesh, parameter.placements
    shape, stride = parameter.shape, parameter.stride()
    divided = DTensor.from_local(values, mesh, placements, run_check=False, shape=shape, stride=stride)
    return divided.full_tensor().contiguous()


def _as_its_part(whole: Tensor, parameter: DTensor) -> Tensor:
    mesh = parameter.device_mesh
    on_all = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return on_all.redistribute(placements=parameter.placements).to_local()
