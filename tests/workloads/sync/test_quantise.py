"""The quantiser: exact sizes, bounded error, and a residual that loses nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workloads.sync.payload import BLOCK, SLAB, Quantised, UpdateFormat
from workloads.sync.quantise import (
    NonFiniteError,
    accumulate,
    dequantise,
    ensure_finite,
    exact,
    quantise,
    quantise_slabs,
)

LENGTHS = [1, 2, 255, 256, 257, 512, 1000, 300_001]  # the last spans two slabs and ends in a short block
DTYPES = [torch.float32, torch.float64]
CODED = [2, 4, 8]


def normal(length: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def quantise_keeping_residual(values: Tensor, bits: int) -> Quantised:
    """`values` as they travel; they are left holding what was not sent of them."""
    return quantise_slabs(
        UpdateFormat(values.numel(), values.dtype, bits), lambda where: values[where], lambda where, rest: None
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", CODED)
def test_a_payload_has_exactly_the_size_of_the_formula(length, dtype, bits):
    blocks = -(-length // 256)
    assert quantise(normal(length, dtype), bits).payload.numel() == 2 * blocks + math.ceil(length * bits / 8)
    assert quantise(normal(length, dtype), 32).payload.numel() == length * dtype.itemsize


@pytest.mark.parametrize(("bits", "cost"), [(2, 2.0625), (4, 4.0625), (8, 8.0625), (32, 32)])
def test_a_value_costs_its_bits_and_a_256th_of_its_scale(bits, cost):
    size = 1 << 20
    assert UpdateFormat(size, torch.float32, bits).payload_bytes * 8 / size == cost


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", CODED)
def test_the_error_is_at_most_half_a_step_of_the_block_but_at_its_far_end(length, dtype, bits):
    """The largest value has the outermost code; on the other side of zero there is one code less."""
    values = normal(length, dtype) * torch.linspace(0.01, 100, length, dtype=dtype)
    error = (values - dequantise(quantise(values, bits))).abs()
    codes = 2 ** (bits - 1)
    for block, block_error in zip(values.split(BLOCK), error.split(BLOCK), strict=True):
        peak = block[block.abs().argmax()]
        step = peak.abs() / codes
        is_far = block / -peak > (codes - 1) / codes
        slack = codes / 2048  # fp16's rounding of the scale, at the outermost code
        assert (block_error <= step * (torch.where(is_far, 1.0, 0.5) + slack)).all()


@pytest.mark.parametrize(("bits", "most"), [(2, 0.21), (4, 0.0125), (8, 5e-5)])
def test_of_normal_values_little_is_lost_at_first(bits, most):
    values = normal(1 << 20)
    lost = values - dequantise(quantise(values, bits))
    assert lost.square().mean() < most


@pytest.mark.parametrize("bits", CODED)
@given(numbers=st.lists(st.floats(width=32, min_value=-1e6, max_value=1e6), min_size=1, max_size=600))
@settings(max_examples=100, deadline=None)
def test_no_value_is_sent_as_more_than_twice_itself(bits, numbers):
    values = torch.tensor(numbers, dtype=torch.float64)
    sent = dequantise(quantise(values, bits))
    assert (sent.abs() <= 2 * values.abs() * (1 + 1e-12)).all()
    assert (sent * values >= 0).all()


@pytest.mark.parametrize("bits", CODED)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_value_of_a_block_has_the_outermost_code_whatever_its_sign(bits, sign):
    values = torch.linspace(-0.5, 0.5, BLOCK)
    values[17] = sign * 4.0  # a power of two, so that the scale is exact
    assert dequantise(quantise(values, bits))[17] == sign * 4.0


@pytest.mark.parametrize("bits", [2, 4])
def test_codes_lie_where_the_format_says(bits):
    values = torch.zeros(BLOCK)
    values[0], values[BLOCK // (8 // bits)] = -1.0, 0.5  # the first values of the first two planes
    payload = quantise(values, bits).payload
    levels = 2 ** (bits - 1)
    assert payload[:2].view(torch.float16).item() == 2.0**8 / levels
    expected = (-levels % 2**bits) | (levels // 2 << bits)
    assert payload[2:].tolist() == [expected] + [0] * (BLOCK * bits // 8 - 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_values_come_back_in_their_own_type(dtype):
    for bits in CODED:
        assert dequantise(quantise(normal(300, dtype), bits)).dtype == dtype
    assert torch.equal(dequantise(quantise(normal(300, dtype), 32)), normal(300, dtype))


@pytest.mark.parametrize("bits", CODED)
def test_a_block_is_coded_as_if_it_were_alone(bits):
    values = normal(300_001)
    alone = torch.cat([dequantise(quantise(block, bits)) for block in values.split(BLOCK)])
    assert torch.equal(dequantise(quantise(values, bits)), alone)


@pytest.mark.parametrize("bits", [*CODED, 32])
def test_a_part_of_an_update_is_added_as_the_whole_would_be(bits):
    update = quantise(normal(300_001), bits)
    whole = dequantise(update)
    for start, stop in ((0, BLOCK), (BLOCK, 140_032), (140_032, 300_001), (299_776, 300_001)):
        part = torch.ones(stop - start)
        accumulate(part, update, 0.5, start)
        assert torch.equal(part, torch.ones(stop - start).add_(whole[start:stop] * 0.5))


@pytest.mark.parametrize("bits", CODED)
def test_a_block_of_zeros_stays_zero_beside_one_of_large_values(bits):
    values = torch.cat([torch.zeros(BLOCK), torch.full((BLOCK,), 100.0)])
    restored = dequantise(quantise(values, bits))
    assert torch.equal(restored[:BLOCK], torch.zeros(BLOCK))
    assert torch.allclose(restored[BLOCK:], values[BLOCK:], rtol=1e-2)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=600),
    st.sampled_from(DTYPES),
    st.sampled_from([*CODED, 32]),
)
@settings(max_examples=300, deadline=None)
def test_what_was_sent_and_the_residual_are_together_exactly_what_was_true(numbers, dtype, bits):
    values = torch.tensor(numbers, dtype=dtype).clamp(-1e5, 1e5)
    update = quantise(values, bits)
    residual = values.clone()
    accumulate(residual, update, -1.0)
    assert torch.equal(dequantise(update) + residual, values)
    assert torch.equal(dequantise(update).double() + residual.double(), values.double())


@pytest.mark.parametrize("bits", CODED)
@pytest.mark.parametrize("scale", [0.25, 1025 / 4096, 0.1875, 1365 / 4096, 2047 / 4096])
def test_values_around_the_middle_of_two_codes_are_kept_exactly_too(bits, scale):
    """Where Sterbenz's lemma ends, and rounding decides which code is taken."""
    values = [torch.tensor(-scale * 2 ** (bits - 1))]
    below = above = torch.tensor(scale / 2)
    for _ in range(4):
        values += [below, above, -below, -above]
        below, above = torch.nextafter(below, torch.tensor(0.0)), torch.nextafter(above, torch.tensor(1.0))
    residual = torch.stack(values)
    update = quantise_keeping_residual(residual, bits)
    assert torch.equal(dequantise(update).double() + residual.double(), torch.stack(values).double())


@pytest.mark.parametrize("bits", [*CODED, 32])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_residual_can_be_left_in_place_of_the_update(bits, length):
    values = normal(length)
    residual = values.clone()
    update = quantise_keeping_residual(residual, bits)
    assert torch.equal(update.payload, quantise(values, bits).payload)
    accumulate(values, update, -1.0)
    assert torch.equal(residual, values)


@pytest.mark.parametrize("bits", [*CODED, 32])
def test_an_update_is_read_and_what_it_lacks_is_kept_slab_by_slab(bits):
    values = normal(300_001)
    pieces, kept = [], torch.full((300_001,), float("nan"))

    def read(where):
        pieces.append(where.stop - where.start)
        return values[where].clone()

    update = quantise_slabs(UpdateFormat(300_001, torch.float32, bits), read, kept.__setitem__)
    assert sum(pieces) == 300_001
    assert max(pieces) <= SLAB
    assert torch.equal(update.payload, quantise(values, bits).payload)
    accumulate(values, update, -1.0)
    assert torch.equal(kept, values)


@pytest.mark.parametrize("bits", CODED)
def test_what_is_held_back_does_not_grow_however_often_it_is_sent_on(bits):
    """Heavy tails are the hard case: a spike sets the scale of 255 small values."""
    generator = torch.Generator().manual_seed(5)
    residual = torch.zeros(100 * BLOCK)
    largest = []
    for _ in range(40):
        spikes = torch.rand(residual.shape, generator=generator) < 0.02
        residual += torch.randn(residual.shape, generator=generator) * torch.where(spikes, 10.0, 0.1)
        quantise_keeping_residual(residual, bits)
        largest.append(residual.square().mean())
    assert max(largest[20:]) < 1.5 * max(largest[:20])
    assert residual.square().mean() < 2.0  # the spikes' own: 0.02 * 100


def test_an_update_that_is_given_away_is_not_copied():
    values = normal(300)
    assert exact(values).payload.data_ptr() == values.data_ptr()


@pytest.mark.parametrize("magnitude", [1e-30, 1e-9, 1e9, 3e38])
@pytest.mark.parametrize("bits", CODED)
def test_magnitudes_beyond_the_scale_give_finite_values_and_leave_the_rest_to_the_residual(magnitude, bits):
    values = torch.full((BLOCK,), magnitude)
    restored = dequantise(quantise(values, bits))
    assert torch.isfinite(restored).all()
    assert (restored.abs() <= values.abs() * 1.5).all()


@pytest.mark.parametrize("bits", [*CODED, 32])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 255, 299])
def test_a_value_that_is_not_finite_is_refused_wherever_it_is(bits, poison, place):
    values = normal(300)
    values[place] = poison
    with pytest.raises(NonFiniteError):
        quantise(values, bits)
    with pytest.raises(NonFiniteError):
        quantise_keeping_residual(values, bits)


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
