"""The merges, each a pure function of one tensor of every model.

Tensors of one call have the same shape and a floating-point type; the answer has the type of the first. Sums are made
in fp32, or in fp64 where a model is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def weighted_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """`sum w_i t_i`, for `weights` that sum to 1 (FedAvg, arXiv 1602.05629; uniform model soups, 2203.05482)."""
    total = torch.zeros_like(tensors[0], dtype=_sum_type(tensors))
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.to(total.dtype), alpha=weight)
    return total.to(tensors[0].dtype)


def fisher_mean(tensors: Sequence[Tensor], fishers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """`sum w_i F_i t_i / sum w_i F_i`, element by element (Matena and Raffel, arXiv 2111.09832).

    `fishers` are the diagonals of the models' Fisher information, non-negative and of the tensors' shape. With weights
    by samples and F a mean over samples it is the mode of the product of the models' Gaussian posteriors. Where no
    model has any information the weighted mean is taken, to which the formula tends as all F become equal.
    """
    dtype = _sum_type((*tensors, *fishers))
    total, information = torch.zeros_like(tensors[0], dtype=dtype), torch.zeros_like(tensors[0], dtype=dtype)
    for tensor, fisher, weight in zip(tensors, fishers, weights, strict=True):
        share = weight * fisher.to(dtype)
        information += share
        total += share * tensor.to(dtype)
    merged = torch.where(information > 0, total / information, weighted_mean(tensors, weights).to(dtype))
    return merged.to(tensors[0].dtype)


def ties(base: Tensor, tensors: Sequence[Tensor], thresholds: Sequence[float], scale: float) -> Tensor:
    """`base + scale * tau`, where tau is the merged task vector of TIES (Yadav et al., arXiv 2306.01708).

    Trim: of each `t_i - base` the elements of a magnitude below `thresholds[i]` become 0. Elect: each element's sign is
    that of the sum of what is left. Disjoint mean: tau is the mean of the elements that have that sign, 0 if none has.
    """
    trimmed = [
        _trim(task_vector(base, tensor), threshold) for tensor, threshold in zip(tensors, thresholds, strict=True)
    ]
    elected = torch.zeros_like(trimmed[0])
    for vector in trimmed:
        elected += vector
    elected.sign_()
    total, count = torch.zeros_like(elected), torch.zeros_like(elected)
    for vector in trimmed:
        agrees = vector * elected > 0
        total += vector.mul_(agrees)
        count += agrees
    return (base.to(total.dtype) + scale * total / count.clamp_(min=1)).to(base.dtype)


def _trim(vector: Tensor, threshold: float) -> Tensor:
    return vector.masked_fill_(vector.abs() < threshold, 0)


def task_vector(base: Tensor, tensor: Tensor) -> Tensor:
    """`tensor - base`, in fp32 or better."""
    dtype = _sum_type((base, tensor))
    return tensor.to(dtype) - base.to(dtype)


def _sum_type(tensors: Sequence[Tensor]) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
