"""Safetensors read and written one tensor at a time, so that a model need not fit into memory once, let alone N times."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from workloads.spec.errors import UserError

_ALIGNMENT = 8  # of the data, by padding the header with spaces, as the format's own writer does
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class TensorShape:
    """Element type, as safetensors names it, and extents."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the elements."""
        return prod(self.shape) * _TYPES[self.dtype].itemsize

    @property
    def is_floating(self) -> bool:
        """Whether elements can be averaged."""
        return _TYPES[self.dtype].is_floating_point


class TensorFiles:
    """The tensors of all safetensors files directly in a folder, or of one file.

    Raises:
        UserError: there is none, one is damaged, or a tensor has a type that cannot be merged.
    """

    def __init__(self, path: Path) -> None:
        self._files: dict[str, Path] = {}
        self.shapes: dict[str, TensorShape] = {}
        self.metadata: dict[str, str] = {}
        self.path = path
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        for file in files:
            self._index(file)
        if not self.shapes:
            raise UserError(f"{path}: no tensors in safetensors files; name the folder of a trained model")

    def read(self, name: str) -> Tensor:
        """The tensor `name`, on the CPU. Raises `UserError` if an element is not finite."""
        with safe_open(self._files[name], framework="pt") as handle:
            tensor: Tensor = handle.get_tensor(name)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{self._files[name]}: {name} has elements that are not finite; leave this model out")
        return tensor

    def _index(self, file: Path) -> None:
        try:
            with safe_open(file, framework="pt") as handle:
                self.metadata |= handle.metadata() or {}
                for name in handle.keys():  # noqa: SIM118 - not a mapping
                    part = handle.get_slice(name)
                    self.shapes[name] = TensorShape(part.get_dtype(), tuple(part.get_shape()))
                    self._files[name] = file
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: not readable as safetensors ({error}); make the model again") from None
        for name, shape in self.shapes.items():
            if shape.dtype not in _TYPES:
                raise UserError(f"{file}: {name} is {shape.dtype}; only {', '.join(_TYPES)} can be merged")


def write_tensors(
    path: Path, shapes: Mapping[str, TensorShape], tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str]
) -> None:
    """Write `tensors`, which come in the order of `shapes`, as one safetensors file, one at a time.

    Raises:
        ValueError: a tensor is not the one that `shapes` announces.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, shape in shapes.items():
        end = offset + shape.size_bytes
        header[name] = {"dtype": shape.dtype, "shape": list(shape.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for (name, shape), (given, tensor) in zip(shapes.items(), tensors, strict=True):
            if (name, _TYPES[shape.dtype], shape.shape) != (given, tensor.dtype, tuple(tensor.shape)):
                raise ValueError(f"{name} {shape} was announced, {given} {tensor.dtype} {tuple(tensor.shape)} came")
            _write_elements(file, tensor)


def _write_elements(file: BinaryIO, tensor: Tensor) -> None:
    if tensor.numel():
        file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorShape]:
    """What `write_tensors` is told of `tensors`."""
    names = {dtype: name for name, dtype in _TYPES.items()}
    return {name: TensorShape(names[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
