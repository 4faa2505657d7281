"""The quantiser: exact sizes, bounded error, and a residual that loses nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workloads.sync.quantise import (
    BLOCK,
    NonFiniteError,
    Quantised,
    UpdateFormat,
    accumulate,
    dequantise,
    ensure_finite,
    quantise,
)

LENGTHS = [1, 2, 255, 256, 257, 512, 1000, 300_001]  # the last spans two slabs and ends in a short block
DTYPES = [torch.float32, torch.float64]


def normal(length: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_payload_has_exactly_the_size_of_the_formula(length, dtype):
    blocks = -(-length // 256)
    assert quantise(normal(length, dtype), 8).payload.numel() == length + 2 * blocks
    assert quantise(normal(length, dtype), 32).payload.numel() == length * dtype.itemsize


def test_a_value_costs_8_0625_bits():
    size = 1 << 20
    assert UpdateFormat(size, torch.float32, 8).payload_bytes * 8 / size == 8.0625


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_error_is_at_most_half_a_step_of_the_block(length, dtype):
    values = normal(length, dtype) * torch.linspace(0.01, 100, length, dtype=dtype)
    error = (values - dequantise(quantise(values, 8))).abs()
    for block, block_error in zip(values.split(BLOCK), error.split(BLOCK), strict=True):
        assert block_error.max() <= block.abs().max() / 127 * 0.57  # half, and fp16's rounding of the scale at code 127


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_values_come_back_in_their_own_type(dtype):
    assert dequantise(quantise(normal(300, dtype), 8)).dtype == dtype
    assert torch.equal(dequantise(quantise(normal(300, dtype), 32)), normal(300, dtype))


def test_a_block_is_coded_as_if_it_were_alone():
    values = normal(300_001)
    alone = torch.cat([dequantise(quantise(block, 8)) for block in values.split(BLOCK)])
    assert torch.equal(dequantise(quantise(values, 8)), alone)


def test_a_block_of_zeros_stays_zero_beside_one_of_large_values():
    values = torch.cat([torch.zeros(BLOCK), torch.full((BLOCK,), 1e6)])
    restored = dequantise(quantise(values, 8))
    assert torch.equal(restored[:BLOCK], torch.zeros(BLOCK))
    assert torch.allclose(restored[BLOCK:], values[BLOCK:], rtol=1e-2)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=600),
    st.sampled_from(DTYPES),
)
@settings(max_examples=200, deadline=None)
def test_what_was_sent_and_the_residual_are_together_exactly_what_was_true(numbers, dtype):
    values = torch.tensor(numbers, dtype=dtype).clamp(-1e6, 1e6)
    update = quantise(values, 8)
    residual = values.clone()
    accumulate(residual, update, -1.0)
    assert torch.equal(dequantise(update) + residual, values)


@pytest.mark.parametrize("magnitude", [1e-30, 1e-7, 1e9, 3e38])
def test_magnitudes_beyond_the_scale_give_finite_values_and_leave_the_rest_to_the_residual(magnitude):
    values = torch.full((BLOCK,), magnitude)
    restored = dequantise(quantise(values, 8))
    assert torch.isfinite(restored).all()
    assert (restored.abs() <= values.abs() * 1.5).all()


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 255, 299])
def test_a_value_that_is_not_finite_is_refused_wherever_it_is(bits, poison, place):
    values = normal(300)
    values[place] = poison
    with pytest.raises(NonFiniteError):
        quantise(values, bits)


def test_a_payload_with_a_scale_that_is_not_finite_is_found():
    update = quantise(normal(300), 8)
    update.payload[:4].view(torch.float16)[1] = float("nan")
    with pytest.raises(NonFiniteError):
        ensure_finite(update)


@pytest.mark.parametrize(
    ("thing", "error"),
    [
        ([1.0, 2.0], TypeError),
        (torch.zeros(3, dtype=torch.int64), TypeError),
        (torch.zeros(3, dtype=torch.float16), TypeError),
        (torch.zeros(2, 2), ValueError),
        (torch.zeros(0), ValueError),
    ],
)
def test_only_a_flat_tensor_of_floats_is_an_update(thing, error):
    with pytest.raises(error):
        quantise(thing, 8)


def test_a_payload_of_another_size_is_no_update():
    with pytest.raises(ValueError, match=r"\[304\]"):
        Quantised(UpdateFormat(300, torch.float32, 8), torch.zeros(300, dtype=torch.uint8))


def test_quantising_leaves_the_update_as_it_is():
    values = normal(1000)
    before = values.clone()
    quantise(values, 8)
    assert torch.equal(values, before)
