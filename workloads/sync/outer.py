"""The outer step: one weighted mean over sites, one Nesterov step, the same bits at every site.

DiLoCo (arXiv 2311.08105) with FedAvg's weights (arXiv 1602.05629): a site counts by the samples it trained on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.sync.payload import SLAB, Quantised, UpdateFormat
from workloads.sync.quantise import Scratch, accumulate


def weighted_mean(updates: Sequence[tuple[Quantised, int]]) -> Tensor:
    """`sum (n_s / N) value of update_s`, [P], added up in the order given, `N` being the sum of all samples `n_s`.

    Raises:
        ValueError: there is no update, a count is not positive, or formats differ.
    """
    form = _common_format(updates)
    return _mean_into(torch.empty(form.size, dtype=form.dtype), updates, 0, Scratch(form.dtype, form.size))


def _common_format(updates: Sequence[tuple[Quantised, int]]) -> UpdateFormat:
    if not updates or any(samples < 1 for _, samples in updates):
        raise ValueError(f"samples are {[samples for _, samples in updates]}; every site must have trained on some")
    formats = {update.format for update, _ in updates}
    if len(formats) > 1:
        raise ValueError(f"updates differ in format: {formats}")
    return formats.pop()


def _mean_into(mean: Tensor, updates: Sequence[tuple[Quantised, int]], start: int, scratch: Scratch) -> Tensor:
    """Fill `mean` with the weighted mean's values from `start` on."""
    total = sum(samples for _, samples in updates)
    mean.zero_()
    for update, samples in updates:
        accumulate(mean, update, samples / total, start, scratch)
    return mean


def rebase(local: Tensor, snapshot: Tensor, shared: Tensor) -> None:
    """`local = shared + (local - snapshot)`, all [P], in place, slab by slab so that memory is passed over once."""
    parts = zip(*(torch.split(tensor, SLAB) for tensor in (local, snapshot, shared)), strict=True)
    for part, before, merged in parts:
        part.sub_(before).add_(merged)


class OuterOptimizer:
    """Nesterov SGD on the shared parameters: `m = mu m + d`, `g = g - lr (d + mu m)`, as `torch.optim.SGD` has it.

    `lr` and `mu` may be others at every step; a step without momentum leaves `m` as it is. Operations are not fused and
    round one by one (`torch.optim.SGD` may fuse, by processor and by length), so that sites on different hardware stay
    bit-identical. If no step will have momentum `m` is empty and costs nothing.
    """

    def __init__(self, initial: Tensor, *, has_momentum: bool) -> None:
        self.parameters = initial.detach().clone()  # g [P]
        self.momentum = torch.zeros_like(self.parameters) if has_momentum else initial.new_empty(0)  # m [P] or [0]

    def merge(self, updates: Sequence[tuple[Quantised, int]], where: slice, lr: float, momentum: float) -> None:
        """Step the parameters at `where` by the weighted mean of `updates`, slab by slab.

        Raises:
            ValueError: as `weighted_mean` does.
        """
        form = _common_format(updates)
        scratch, memory = Scratch(form.dtype, form.size), torch.empty(min(form.size, SLAB), dtype=form.dtype)
        for start in range(0, form.size, SLAB):
            mean = memory[: min(SLAB, form.size - start)]
            _mean_into(mean, updates, start, scratch)
            first = where.start + start
            self._step(mean, slice(first, first + mean.numel()), lr, momentum, scratch.values[: mean.numel()])

    def step(self, update: Tensor, where: slice, lr: float, momentum: float) -> None:
        """Move the parameters at `where` against `update`, their merged pseudo-gradient, which is used as scratch memory."""
        self._step(update, where, lr, momentum, torch.empty_like(update))

    def _step(self, update: Tensor, where: slice, lr: float, momentum: float, scratch: Tensor) -> None:
        if momentum:
            moment = self.momentum[where].mul_(momentum).add_(update)
            update.add_(torch.mul(moment, momentum, out=scratch))  # not `alpha=`, which fuses on some processors
        self.parameters[where].sub_(update.mul_(lr))
