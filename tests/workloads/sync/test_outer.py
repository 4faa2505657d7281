"""The outer step is the reference optimiser's, and the mean is weighted by samples."""

from itertools import pairwise

import pytest
import torch

from workloads.sync.outer import OuterOptimizer, rebase, weighted_mean
from workloads.sync.payload import BLOCK
from workloads.sync.quantise import quantise

SIZE = 1001
WHOLE = slice(0, SIZE)


def deltas(dtype, count=6, size=SIZE):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(size, generator=generator, dtype=dtype) for _ in range(count)]


def reference(initial, updates, settings):
    """What `torch.optim.SGD` makes of `updates`, with `settings` (lr, momentum) for each."""
    parameter = torch.nn.Parameter(initial.clone())
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    for update, (lr, momentum) in zip(updates, settings, strict=True):
        optimizer.param_groups[0].update(lr=lr, momentum=momentum, nesterov=momentum > 0)
        parameter.grad = update.clone()
        optimizer.step()
    return parameter.detach()


def outer(initial, updates, settings):
    optimizer = OuterOptimizer(initial, has_momentum=any(momentum for _, momentum in settings))
    for update, (lr, momentum) in zip(updates, settings, strict=True):
        optimizer.step(update.clone(), WHOLE, lr, momentum)
    return optimizer.parameters


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("lr", "momentum"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.5), (0.25, 0.5)])
def test_the_step_is_bit_identical_to_nesterov_sgd_where_products_are_exact(dtype, lr, momentum):
    initial, updates, settings = torch.ones(SIZE, dtype=dtype), deltas(dtype), [(lr, momentum)] * 6
    assert torch.equal(outer(initial, updates, settings), reference(initial, updates, settings))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "settings",
    [
        [(1.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5), (0.5, 0.25), (0.5, 0.5)],
        [(0.5, 0.5), (0.5, 0.5), (1.0, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 0.0)],
    ],
    ids=["later", "now-and-then"],
)
def test_settings_that_change_between_rounds_are_nesterov_sgd_with_those_of_the_round(dtype, settings):
    initial, updates = torch.ones(SIZE, dtype=dtype), deltas(dtype)
    assert torch.equal(outer(initial, updates, settings), reference(initial, updates, settings))


@pytest.mark.parametrize(("lr", "momentum"), [(0.7, 0.9), (0.8, 0.6), (0.7, 0.0)])
def test_the_step_is_nesterov_sgd_to_the_last_bits_elsewhere(lr, momentum):
    initial, updates, settings = torch.ones(SIZE, dtype=torch.float64), deltas(torch.float64), [(lr, momentum)] * 6
    expected = reference(initial, updates, settings)
    torch.testing.assert_close(outer(initial, updates, settings), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_a_merge_in_slabs_and_fragments_is_the_step_by_the_mean_of_the_whole(bits):
    size = 200_001  # two slabs and a short block
    values = deltas(torch.float32, count=4, size=size)
    whole, cut = (OuterOptimizer(torch.ones(size), has_momentum=True) for _ in range(2))
    borders = [0, 3 * BLOCK, 150_016, size]
    for first, second in (values[:2], values[2:]):
        whole.step(weighted_mean([(quantise(first, bits), 3), (quantise(second, bits), 5)]), slice(0, size), 0.7, 0.6)
        for start, stop in pairwise(borders):
            updates = [(quantise(first[start:stop], bits), 3), (quantise(second[start:stop], bits), 5)]
            cut.merge(updates, slice(start, stop), 0.7, 0.6)
    assert torch.equal(cut.parameters, whole.parameters)
    assert torch.equal(cut.momentum, whole.momentum)


def test_a_fragment_s_step_leaves_the_others_alone():
    optimizer = OuterOptimizer(torch.ones(2 * BLOCK), has_momentum=True)
    optimizer.step(torch.ones(BLOCK), slice(0, BLOCK), 1.0, 0.5)
    assert torch.equal(optimizer.parameters[BLOCK:], torch.ones(BLOCK))
    assert not optimizer.momentum[BLOCK:].any()
    assert optimizer.momentum[:BLOCK].all()


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
    assert OuterOptimizer(torch.zeros(100), has_momentum=False).momentum.numel() == 0


@pytest.mark.parametrize("samples", [0, -1])
def test_a_site_that_trained_on_nothing_has_no_weight_to_be_merged_with(samples):
    with pytest.raises(ValueError, match="samples"):
        weighted_mean([(quantise(torch.ones(2), 32), samples)])


def test_updates_of_different_formats_are_not_merged():
    with pytest.raises(ValueError, match="format"):
        weighted_mean([(quantise(torch.ones(2), 32), 1), (quantise(torch.ones(2), 8), 1)])


def test_progress_is_carried_over_as_if_there_were_no_slabs():
    local, snapshot, shared = deltas(torch.float32, count=3, size=200_001)
    expected = (local - snapshot) + shared
    rebase(local, snapshot, shared)
    assert torch.equal(local, expected)
