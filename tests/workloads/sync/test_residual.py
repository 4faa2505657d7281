"""What is held back has half the width of the parameters, and with what they keep themselves it is all that was not sent."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.sync.payload import BLOCK, UpdateFormat
from workloads.sync.quantise import NonFiniteError, dequantise
from workloads.sync.residual import Residual

SIZE = 300_001  # more than two slabs, and a short block
CODED = [2, 4, 8]


def normal(seed, dtype=torch.float32, size=SIZE):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def send(residual, shared, snapshot, bits, *, where=None, is_last=False):
    form = UpdateFormat(shared.numel(), shared.dtype, bits)
    return residual.send(form, where or slice(0, shared.numel()), shared, snapshot, is_last=is_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_has_half_the_width_of_the_parameters(dtype):
    residual = Residual(10, dtype)
    assert 2 * residual.values.dtype.itemsize == dtype.itemsize
    assert not residual.values.any()


@pytest.mark.parametrize("bits", CODED)
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 100.0])
def test_what_was_sent_is_held_back_and_is_left_in_the_parameters_is_what_was_true(bits, scale):
    """At every order of magnitude. The snapshot is zero, so that adding to it rounds nothing."""
    shared, snapshot = normal(1) * scale, torch.zeros(SIZE)
    residual = Residual(SIZE, torch.float32)
    sent = dequantise(send(residual, shared, snapshot, bits)).double()
    assert residual.values.any()
    assert snapshot.any()
    assert torch.equal(sent + residual.values.double() + snapshot.double(), shared.double())
    assert (snapshot.abs() <= residual.values.float().abs() * 2**-8).all()


@pytest.mark.parametrize("bits", CODED)
@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, min_value=-(2.0**99), max_value=2.0**99), min_size=1, max_size=300))
def test_whatever_the_update_narrowing_what_is_held_back_is_exact(bits, numbers):
    shared = torch.tensor(numbers)
    residual, snapshot = Residual(len(numbers), torch.float32), torch.zeros(len(numbers))
    sent = dequantise(send(residual, shared, snapshot, bits))
    assert torch.equal(residual.values.float().double() + snapshot.double(), (shared - sent).double())


@pytest.mark.parametrize("bits", CODED)
def test_what_the_parameters_kept_is_sent_on_in_the_rounds_that_follow(bits):
    """In multiples of 2^-40 every sum is exact in float64, and what is held back is not in float32."""
    generator = torch.Generator().manual_seed(3)
    residual = Residual(SIZE, torch.float64)
    shared = local = torch.zeros(SIZE, dtype=torch.float64)
    true, sent = torch.zeros(SIZE, dtype=torch.float64), torch.zeros(SIZE, dtype=torch.float64)
    for _ in range(5):
        learnt = torch.randint(-(1 << 40), 1 << 40, (SIZE,), generator=generator).double() / (1 << 40)
        local, true = local + learnt, true - learnt
        snapshot = local.clone()
        update = dequantise(send(residual, shared, snapshot, bits))
        sent += update
        local, shared = shared - update + (local - snapshot), shared - update
    carried = shared - local
    assert carried.any()
    assert torch.equal(sent + residual.values.double() + carried, true)


def test_a_last_update_leaves_the_parameters_alone():
    shared, snapshot = normal(1), normal(2)
    before, residual = snapshot.clone(), Residual(SIZE, torch.float32)
    send(residual, shared, snapshot, 4, is_last=True)
    assert torch.equal(snapshot, before)
    assert residual.values.any()


def test_with_32_bits_nothing_is_held_back_any_more():
    shared, snapshot = normal(1), normal(2)
    residual = Residual(SIZE, torch.float32)
    send(residual, shared, snapshot, 2)
    expected = shared - snapshot + residual.values
    before = snapshot.clone()
    assert torch.equal(dequantise(send(residual, shared, snapshot, 32)), expected)
    assert not residual.values.any()
    assert torch.equal(snapshot, before)


def test_a_part_of_it_is_that_of_a_fragment():
    residual, shared, snapshot = Residual(3 * BLOCK, torch.float32), normal(1, size=BLOCK), normal(2, size=BLOCK)
    send(residual, shared, snapshot, 2, where=slice(BLOCK, 2 * BLOCK))
    assert residual.values[BLOCK : 2 * BLOCK].any()
    assert not residual.values[:BLOCK].any()
    assert not residual.values[2 * BLOCK :].any()


@pytest.mark.parametrize("bits", [*CODED, 32])
def test_what_is_not_finite_is_refused(bits):
    shared = torch.tensor([1.0, float("nan")])
    with pytest.raises(NonFiniteError):
        send(Residual(2, torch.float32), shared, torch.zeros(2), bits)
