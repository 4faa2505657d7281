"""The outer step is the reference optimiser's, and the mean is weighted by samples."""

import pytest
import torch

from workloads.sync.outer import OuterOptimizer, weighted_mean
from workloads.sync.quantise import quantise


def deltas(dtype, count=6, size=1001):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(size, generator=generator, dtype=dtype) for _ in range(count)]


def reference(initial, updates, lr, momentum):
    parameter = torch.nn.Parameter(initial.clone())
    optimizer = torch.optim.SGD([parameter], lr=lr, momentum=momentum, nesterov=momentum > 0)
    for update in updates:
        parameter.grad = update.clone()
        optimizer.step()
    return parameter.detach()


def outer(initial, updates, lr, momentum):
    optimizer = OuterOptimizer(initial, lr, momentum)
    for update in updates:
        optimizer.step(update.clone())
    return optimizer.parameters


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("lr", "momentum"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.5), (0.25, 0.5)])
def test_the_step_is_bit_identical_to_nesterov_sgd_where_products_are_exact(dtype, lr, momentum):
    initial = torch.ones(1001, dtype=dtype)
    assert torch.equal(outer(initial, deltas(dtype), lr, momentum), reference(initial, deltas(dtype), lr, momentum))


@pytest.mark.parametrize(("lr", "momentum"), [(0.7, 0.9), (0.8, 0.6), (0.7, 0.0)])
def test_the_step_is_nesterov_sgd_to_the_last_bits_elsewhere(lr, momentum):
    initial = torch.ones(1001, dtype=torch.float64)
    ours = outer(initial, deltas(torch.float64), lr, momentum)
    torch.testing.assert_close(ours, reference(initial, deltas(torch.float64), lr, momentum), rtol=1e-14, atol=1e-14)


def test_the_mean_is_weighted_by_samples():
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 4.0])
    mean = weighted_mean([(quantise(first, 32), 3), (quantise(second, 32), 1)])
    assert torch.equal(mean, torch.tensor([0.75, 1.0]))


def test_the_mean_is_of_the_values_that_travelled():
    values = deltas(torch.float32, count=1)[0]
    mean = weighted_mean([(quantise(values, 8), 5)])
    assert not torch.equal(mean, values)
    torch.testing.assert_close(mean, values, rtol=0, atol=0.02)


def test_without_momentum_no_memory_is_kept_for_it():
    assert OuterOptimizer(torch.zeros(100), 1.0, 0.0).momentum.numel() == 0


@pytest.mark.parametrize("samples", [0, -1])
def test_a_site_that_trained_on_nothing_has_no_weight_to_be_merged_with(samples):
    with pytest.raises(ValueError, match="samples"):
        weighted_mean([(quantise(torch.ones(2), 32), samples)])


def test_updates_of_different_formats_are_not_merged():
    with pytest.raises(ValueError, match="format"):
        weighted_mean([(quantise(torch.ones(2), 32), 1), (quantise(torch.ones(2), 8), 1)])
