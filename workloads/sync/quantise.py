"""Blockwise absmax quantisation of flat updates: what a value costs on the link, and the one way to get it back.

With 8 bits a block of 256 values shares one fp16 scale, the block's largest magnitude / 127 (Dettmers et al.,
arXiv 2110.02861, with a linear code). A payload is all scales, then all codes, little-endian. With 32 bits the values
travel as they are. What rounding loses is the caller's to keep and send later (error feedback, arXiv 1901.09847), and
within the scales' range it can be kept exactly: by Sterbenz's lemma the difference of a value and its code's value is
itself a floating-point number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

BLOCK = 256  # values that share a scale
_SLAB = 1024 * BLOCK  # values worked on at a time: scratch memory stays in the cache, whatever the update's size
_LARGEST_CODE = 127
_SCALE_BYTES = 2

Bits = Literal[8, 32]
FLOAT_TYPES = (torch.float32, torch.float64)


class NonFiniteError(ValueError):
    """An update holds NaN or infinity: merged once, it would spoil the model of every site."""


@dataclass(frozen=True)
class UpdateFormat:
    """How an update of `size` values [size] of `dtype` travels, at `bits` a value.

    Raises:
        TypeError: `dtype` is neither float32 nor float64.
        ValueError: `size` is not positive.
    """

    size: int
    dtype: torch.dtype
    bits: Bits

    def __post_init__(self) -> None:
        if self.dtype not in FLOAT_TYPES:
            raise TypeError(f"an update has dtype {self.dtype}; it must be one of {FLOAT_TYPES}")
        if self.size < 1:
            raise ValueError(f"an update has {self.size} values; it must have at least 1")

    @property
    def blocks(self) -> int:
        """Number of scales."""
        return math.ceil(self.size / BLOCK)

    @property
    def payload_bytes(self) -> int:
        """Exact size on the link: one byte a value and two a block, or the values' own size."""
        if self.bits == 8:
            return self.size + _SCALE_BYTES * self.blocks
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Quantised:
    """An update as it travels: `payload` uint8 [format.payload_bytes], contiguous, on the CPU.

    Raises:
        ValueError: `payload` is not of that shape and type.
    """

    format: UpdateFormat
    payload: Tensor

    def __post_init__(self) -> None:
        payload, size = self.payload, self.format.payload_bytes
        if payload.dtype != torch.uint8 or payload.shape != (size,) or not payload.is_contiguous():
            raise ValueError(
                f"a payload is {payload.dtype} {list(payload.shape)}; it must be contiguous uint8 [{size}]"
            )


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
    form = UpdateFormat(update.numel(), update.dtype, bits)
    source = update.detach().cpu().contiguous()
    payload = torch.empty(form.payload_bytes, dtype=torch.uint8)
    if bits == 8:
        _encode_int8(source, *_parts(form, payload))
    else:
        payload.view(form.dtype).copy_(_finite(source))
    return Quantised(form, payload)


def ensure_finite(update: Quantised) -> None:
    """Raises `NonFiniteError`: the payload of `update` holds values that are not finite."""
    form = update.format
    _finite(_parts(form, update.payload)[0] if form.bits == 8 else update.payload.view(form.dtype))


def accumulate(total: Tensor, update: Quantised, weight: float) -> None:
    """`total += weight * value of update`, in place; `total` [P] of the update's dtype.

    Every operation rounds on its own and none is fused, so that any processor gives the same bits.
    """
    form = update.format
    if form.bits == 32:
        values = update.payload.view(form.dtype)
        for start in range(0, form.size, _SLAB):
            slab = slice(start, start + _SLAB)
            total[slab].add_(values[slab] * weight)
        return
    scales, codes = _parts(form, update.payload)
    for slab, first, last in _slabs(form.size):
        values = _rows(codes[slab]).to(form.dtype)
        values.mul_(scales[first:last, None].to(form.dtype)).mul_(weight)
        _rows(total[slab]).add_(values)


def dequantise(update: Quantised) -> Tensor:
    """The values of `update`: [P]."""
    values = torch.zeros(update.format.size, dtype=update.format.dtype)
    accumulate(values, update, 1.0)
    return values


def _encode_int8(source: Tensor, scales: Tensor, codes: Tensor) -> None:
    largest_scale = torch.finfo(scales.dtype).max
    scratch = torch.empty(min(source.numel(), _SLAB), dtype=source.dtype)
    for slab, first, last in _slabs(source.numel()):
        values = _rows(source[slab])
        work = scratch[: values.numel()].view_as(values)
        peaks = _finite(torch.abs(values, out=work).amax(dim=1))
        # A peak beyond the largest scale is clipped, one below the smallest becomes zero: the residual keeps the rest.
        scales[first:last] = (peaks / _LARGEST_CODE).clamp_(max=largest_scale)
        rounded = scales[first:last].to(source.dtype)
        inverse = torch.where(rounded > 0, rounded.reciprocal(), 0.0)
        torch.mul(values, inverse[:, None], out=work).round_().clamp_(-_LARGEST_CODE, _LARGEST_CODE)
        _rows(codes[slab]).copy_(work)


def _parts(form: UpdateFormat, payload: Tensor) -> tuple[Tensor, Tensor]:
    """Views of a payload: scales fp16 [blocks] and codes int8 [P]."""
    border = _SCALE_BYTES * form.blocks
    return payload[:border].view(torch.float16), payload[border:].view(torch.int8)


def _slabs(size: int) -> Iterator[tuple[slice, int, int]]:
    """Slices of `size` values that are whole blocks, or the short last block alone; each with its range of blocks."""
    whole = size // BLOCK * BLOCK
    for start in range(0, whole, _SLAB):
        stop = min(start + _SLAB, whole)
        yield slice(start, stop), start // BLOCK, stop // BLOCK
    if whole < size:
        yield slice(whole, size), whole // BLOCK, whole // BLOCK + 1


def _rows(values: Tensor) -> Tensor:
    """A slab as [blocks, values of a block], sharing memory."""
    return values.view(-1, min(values.numel(), BLOCK))


def _finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError("an update has values that are not finite")
    return values
