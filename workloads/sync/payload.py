"""How an update travels: what a value costs on the link, and what lies where in a payload.

A payload is all scales, then all codes, little-endian. A byte of 4-bit codes holds values j and j + 128 of a block, one of
2-bit codes j, j + 64, j + 128 and j + 192, the first in the lowest bits. With 32 bits the values travel as they are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from workloads.spec.plan import Bits

BLOCK = 256  # values that share a scale
SLAB = 512 * BLOCK  # values worked on at a time: scratch memory stays in the cache, whatever the update's size
FLOAT_TYPES = (torch.float32, torch.float64)
_SCALE_BYTES = 2


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
        """Exact size on the link: two bytes a block and `bits` a value, the last byte filled up, or the values' own size."""
        if self.bits == 32:
            return self.size * self.dtype.itemsize
        return _SCALE_BYTES * self.blocks + math.ceil(self.size * self.bits / 8)


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


@dataclass(frozen=True)
class Slab:
    """Whole blocks that are worked on together, or the short last one alone, and where their parts lie."""

    values: slice
    blocks: slice
    bytes: slice
    rows: int
    row_values: int
    row_codes: int  # with those that fill up the last byte


def slabs(form: UpdateFormat, start: int, stop: int) -> Iterator[Slab]:
    """The slabs of `form` from value `start` to `stop`, which are at borders of blocks or at the end."""
    whole = form.size // BLOCK * BLOCK
    borders = [*range(start, min(stop, whole), SLAB), min(stop, whole)]
    pieces = [(first, last, BLOCK) for first, last in pairwise(borders)]
    if whole < stop:
        pieces.append((whole, stop, stop - whole))
    per_byte = 8 // form.bits
    for first, last, row_values in pieces:
        block, rows = first // BLOCK, (last - first) // row_values
        row_bytes = math.ceil(row_values / per_byte)
        offset = first // per_byte
        yield Slab(
            values=slice(first, last),
            blocks=slice(block, block + rows),
            bytes=slice(offset, offset + rows * row_bytes),
            rows=rows,
            row_values=row_values,
            row_codes=row_bytes * per_byte,
        )


def parts(form: UpdateFormat, payload: Tensor) -> tuple[Tensor, Tensor]:
    """Views of a payload: scales fp16 [blocks] and packed codes uint8."""
    border = _SCALE_BYTES * form.blocks
    return payload[:border].view(torch.float16), payload[border:]
