"""The outer step: one weighted mean over sites, one Nesterov step, the same bits at every site.

DiLoCo (arXiv 2311.08105) with FedAvg's weights (arXiv 1602.05629): a site counts by the samples it trained on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.sync.quantise import Quantised, accumulate


def weighted_mean(updates: Sequence[tuple[Quantised, int]]) -> Tensor:
    """`sum (n_s / N) value of update_s`, [P], added up in the order given, `N` being the sum of all samples `n_s`.

    Raises:
        ValueError: there is no update, a count is not positive, or formats differ.
    """
    if not updates or any(samples < 1 for _, samples in updates):
        raise ValueError(f"samples are {[samples for _, samples in updates]}; every site must have trained on some")
    formats = {update.format for update, _ in updates}
    if len(formats) > 1:
        raise ValueError(f"updates differ in format: {formats}")
    form = formats.pop()
    total = sum(samples for _, samples in updates)
    mean = torch.zeros(form.size, dtype=form.dtype)
    for update, samples in updates:
        accumulate(mean, update, samples / total)
    return mean


class OuterOptimizer:
    """Nesterov SGD on the shared parameters: `m = mu m + d`, `g = g - lr (d + mu m)`, as `torch.optim.SGD` has it.

    Operations are not fused and round one by one (`torch.optim.SGD` may fuse, by processor and by length), so that
    sites on different hardware stay bit-identical. Without momentum `m` is empty and costs nothing.
    """

    def __init__(self, initial: Tensor, lr: float, momentum: float) -> None:
        self.parameters = initial.detach().clone()  # g [P]
        self.momentum = torch.zeros_like(initial) if momentum else initial.new_empty(0)  # m [P] or [0]
        self._lr = lr
        self._mu = momentum

    def step(self, update: Tensor) -> None:
        """Move against `update` [P], the merged pseudo-gradient. `update` is used as scratch memory."""
        if self._mu:
            self.momentum.mul_(self._mu).add_(update)
            update.add_(self.momentum * self._mu)  # not `alpha=`, which fuses on some processors
        self.parameters.sub_(update.mul_(self._lr))
