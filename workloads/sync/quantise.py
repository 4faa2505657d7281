"""Blockwise absmax quantisation of flat updates, and the one way to get their values back.

A block of 256 values shares one fp16 scale (Dettmers et al., arXiv 2110.02861, with a linear code). With b bits a code is
one of -2^(b-1) .. 2^(b-1) - 1 and the scale has the sign that gives the block's largest magnitude the code -2^(b-1): no
code is left over (llama.cpp's Q4_0 does so), which with two bits is the difference between three levels and four. Zero is
always a level, so that a value is never sent as more than twice itself: with error feedback (arXiv 1901.09847) that makes
a contraction of any block, a single spike among zeros too, where levels that fit a bell curve better would send noise.

What rounding loses is the caller's to keep and send later, and within the scales' range it can be kept exactly: the
difference of a value and its code's value is itself a floating-point number, by Sterbenz's lemma where they are within a
factor of two, else because the scale has so few bits that it ends before the value does.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from workloads.spec.plan import Bits
from workloads.sync.payload import BLOCK, SLAB, Quantised, UpdateFormat, parts, slabs

_SCALE_UNIT = 2.0**-8  # what a scale counts in: parameters move by little, and fp16 is coarse below 6e-5


class NonFiniteError(ValueError):
    """An update holds NaN or infinity: merged once, it would spoil the model of every site."""


class Scratch:
    """Memory for one slab of `dtype`, used again and again: fresh memory costs more than the work done in it."""

    def __init__(self, dtype: torch.dtype, size: int = SLAB) -> None:
        self.values = torch.empty(min(size, SLAB) + BLOCK, dtype=dtype)  # with room for codes that fill up a byte
        self.codes = torch.empty(self.values.numel() // 2, dtype=torch.uint8)


def quantise(update: Tensor, bits: Bits) -> Quantised:
    """`update` [P], float32 or float64, as it travels. `update` is left as it is.

    Raises:
        TypeError: it is not a tensor of floats.
        ValueError: it is not one-dimensional, or empty.
        NonFiniteError: a value is NaN or infinite.
    """
    if not isinstance(update, Tensor):
        raise TypeError(f"only a tensor of floats can be quantised, not {type(update).__name__}")
    if update.dim() != 1:
        raise ValueError(f"an update has shape {list(update.shape)}; it must be flat")
    source = update.detach().cpu().contiguous()
    return quantise_slabs(UpdateFormat(source.numel(), source.dtype, bits), lambda where: source[where], None)


def exact(update: Tensor) -> Quantised:
    """`update` [P] itself, which the caller gives away, at 32 bits a value.

    Raises:
        NonFiniteError: a value is NaN or infinite.
    """
    form = UpdateFormat(update.numel(), update.dtype, 32)
    quantised = Quantised(form, update.view(torch.uint8))
    ensure_finite(quantised)
    return quantised


def quantise_slabs(
    form: UpdateFormat, read: Callable[[slice], Tensor], keep: Callable[[slice, Tensor], None] | None
) -> Quantised:
    """The update of which `read` gives the values at a slice, as it travels; never more than a slab of it is asked for.

    `keep` is given what the values sent lack of those read, in the memory of these, which must then be free for it.

    Raises:
        NonFiniteError: a value is NaN or infinite; what was read before is kept.
    """
    payload = torch.empty(form.payload_bytes, dtype=torch.uint8)
    if form.bits == 32:
        _copy_slabs(form, read, keep, payload)
    else:
        _encode_slabs(form, read, keep, payload)
    return Quantised(form, payload)


def ensure_finite(update: Quantised) -> None:
    """Raises `NonFiniteError`: the payload of `update` holds values that are not finite."""
    form = update.format
    values = update.payload.view(form.dtype) if form.bits == 32 else parts(form, update.payload)[0]
    for start in range(0, values.numel(), SLAB):
        _finite(values[start : start + SLAB])


def accumulate(total: Tensor, update: Quantised, weight: float, start: int = 0, scratch: Scratch | None = None) -> None:
    """`total += weight * value of update`, in place; `total` [P] of the update's dtype, contiguous, on the CPU.

    A shorter `total` takes the values from `start` on; both ends are at borders of blocks, or at the update's end. Every
    operation rounds on its own and none is fused, so that any processor gives the same bits.
    """
    form = update.format
    scratch = scratch or Scratch(form.dtype, total.numel())
    if form.bits == 32:
        values = update.payload.view(form.dtype)[start : start + total.numel()]
        for part, source in zip(torch.split(total, SLAB), torch.split(values, SLAB), strict=True):
            part.add_(torch.mul(source, weight, out=scratch.values[: source.numel()]))
        return
    scales, codes = parts(form, update.payload)
    top = 8 - form.bits  # codes are unpacked into the top bits of a signed byte
    for slab in slabs(form, start, start + total.numel()):
        factors = scales[slab.blocks, None].to(form.dtype).mul_(_SCALE_UNIT / (1 << top)).mul_(weight)
        work = scratch.values[: slab.rows * slab.row_codes].view(slab.rows, slab.row_codes)
        _unpack(codes[slab.bytes].view(slab.rows, -1), form.bits, work, scratch.codes)
        work.mul_(factors)
        _rows(total[slab.values.start - start : slab.values.stop - start]).add_(work[:, : slab.row_values])


def dequantise(update: Quantised) -> Tensor:
    """The values of `update`: [P]."""
    values = torch.zeros(update.format.size, dtype=update.format.dtype)
    accumulate(values, update, 1.0)
    return values


def _copy_slabs(
    form: UpdateFormat, read: Callable[[slice], Tensor], keep: Callable[[slice, Tensor], None] | None, payload: Tensor
) -> None:
    for start in range(0, form.size, SLAB):
        where = slice(start, min(start + SLAB, form.size))
        values = _finite(read(where))
        payload.view(form.dtype)[where] = values
        if keep is not None:
            keep(where, values.zero_())


def _encode_slabs(
    form: UpdateFormat, read: Callable[[slice], Tensor], keep: Callable[[slice, Tensor], None] | None, payload: Tensor
) -> None:
    scales, codes = parts(form, payload)
    lowest, highest = -(1 << (form.bits - 1)), (1 << (form.bits - 1)) - 1
    largest_scale = torch.finfo(scales.dtype).max
    scratch = torch.empty(min(form.size, SLAB) + BLOCK, dtype=form.dtype)
    sums = torch.empty(scratch.numel() * form.bits // 8, dtype=form.dtype)
    for slab in slabs(form, 0, form.size):
        source = read(slab.values)
        values = _rows(source)
        high, low = values.amax(dim=1), values.amin(dim=1)
        peaks = _finite(torch.where(high >= -low, high, low))
        # A peak beyond the largest scale is clipped, one below the smallest becomes zero: the residual keeps the rest.
        scales[slab.blocks] = (peaks / (lowest * _SCALE_UNIT)).clamp_(-largest_scale, largest_scale)
        rounded = scales[slab.blocks].to(form.dtype).mul_(_SCALE_UNIT)
        inverse = torch.where(rounded != 0, rounded.reciprocal(), 0.0)
        work = scratch[: slab.rows * slab.row_codes].view(slab.rows, slab.row_codes)
        coded = work[:, : slab.row_values]
        torch.mul(values, inverse[:, None], out=coded).round_().clamp_(lowest, highest)
        if slab.row_codes > slab.row_values:
            work[:, slab.row_values :] = 0
        _pack(work, form.bits, codes[slab.bytes].view(slab.rows, -1), sums)
        if keep is not None:
            values.sub_(coded.mul_(rounded[:, None]))
            keep(slab.values, source)


def _pack(codes: Tensor, bits: Bits, packed: Tensor, scratch: Tensor) -> None:
    """Write `codes`, whole numbers as floats [rows, width * 8 / bits], to `packed` uint8 [rows, width]."""
    if bits == 8:
        packed.view(torch.int8).copy_(codes)
        return
    first, *others = torch.split(codes, packed.shape[1], dim=1)
    shifts = range(0, 8, bits)
    sign_bits = sum(1 << (shift + bits - 1) for shift in shifts)  # added, they make every sum positive; flipped, signed
    sums = torch.add(first, sign_bits, out=scratch[: packed.numel()].view_as(packed))
    for plane, shift in zip(others, shifts[1:], strict=True):
        sums.add_(plane, alpha=1 << shift)
    packed.copy_(sums).bitwise_xor_(sign_bits)


def _unpack(packed: Tensor, bits: Bits, codes: Tensor, scratch: Tensor) -> None:
    """The reverse of `_pack`, with every code multiplied by 2^(8 - bits)."""
    if bits == 8:
        codes.copy_(packed.view(torch.int8))
        return
    top = 8 - bits
    moved = scratch[: packed.numel()].view_as(packed)
    for plane, shift in zip(torch.split(codes, packed.shape[1], dim=1), range(0, 8, bits), strict=True):
        torch.bitwise_left_shift(packed, top - shift, out=moved)
        plane.copy_(moved.bitwise_and_(0xFF << top & 0xFF).view(torch.int8))


def _rows(values: Tensor) -> Tensor:
    """A slab as [blocks, values of a block], sharing memory."""
    return values.view(-1, min(values.numel(), BLOCK))


def _finite(values: Tensor) -> Tensor:
    low, high = torch.aminmax(values)  # either is NaN if any value is; many times faster than asking each
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise NonFiniteError("an update has values that are not finite")
    return values
