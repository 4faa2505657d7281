"""Tensors of the Open Inference Protocol v2 in JSON, checked against a model's signature."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeInt, TypeAdapter, ValidationError

from workloads.inference.requests import RequestError
from workloads.inference.served_model import ANY, ServedModel, TensorSpec

_ELEMENTS: dict[str, tuple[type[np.generic], TypeAdapter[Any]]] = {
    "FP32": (np.float32, TypeAdapter(list[float], config=ConfigDict(strict=True))),
    "INT64": (np.int64, TypeAdapter(list[int], config=ConfigDict(strict=True))),
}
_INT64 = np.iinfo(np.int64)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InputTensor(_Message):
    """A tensor of a request; `data` is flat in row-major order, or nested as `shape` says."""

    name: str
    shape: list[NonNegativeInt]
    datatype: str
    data: list[JsonValue]
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class RequestedOutput(_Message):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class InferRequest(_Message):
    """Body of `POST /v2/models/{name}/infer`."""

    id: str | None = None
    parameters: dict[str, JsonValue] | None = None
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] = Field(default_factory=list)


def read_input(request: InferRequest, model: ServedModel) -> NDArray[Any]:
    """The one input of `model` as an array, with every extent, element and limit checked.

    Raises:
        RequestError: naming the tensor, what it has and what it must have.
    """
    names = [tensor.name for tensor in request.inputs]
    if names != [model.input.name]:
        raise RequestError(400, f"inputs are {names}; this model takes exactly [{model.input.name!r}]", field="inputs")
    tensor = request.inputs[0]
    _check_signature(tensor, model)
    array = _as_array(tensor, tensor.shape)
    if model.vocabulary and (array.min() < 0 or array.max() >= model.vocabulary):
        raise _refusal(tensor, f"token {_first_outside(array, model.vocabulary)} is not in 0..{model.vocabulary - 1}")
    return array


def select_outputs(request: InferRequest, model: ServedModel) -> tuple[TensorSpec, ...]:
    """The outputs that `request` asks for, all if it names none. Raises `RequestError` for a name that is unknown."""
    known = {output.name: output for output in model.outputs}
    unknown = [output.name for output in request.outputs if output.name not in known]
    if unknown:
        raise RequestError(400, f"output {unknown[0]!r} is unknown; this model has {list(known)}", field="outputs")
    return tuple(known[output.name] for output in request.outputs) or model.outputs


def write_output(spec: TensorSpec, shape: Sequence[int], data: Sequence[JsonValue]) -> dict[str, JsonValue]:
    """A tensor of a response, its data flat."""
    return {"name": spec.name, "shape": list(shape), "datatype": spec.datatype, "data": list(data)}


def _check_signature(tensor: InputTensor, model: ServedModel) -> None:
    spec, shape = model.input, tensor.shape
    if tensor.datatype != spec.datatype:
        raise _refusal(tensor, f"datatype is {tensor.datatype!r}; it must be {spec.datatype!r}")
    fits = len(shape) == len(spec.shape) and all(
        extent >= 1 if wanted == ANY else extent == wanted for extent, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise _refusal(tensor, f"shape is {shape}; it must be {list(spec.shape)}, where -1 is at least 1")
    if shape[0] > model.max_batch:
        raise _refusal(tensor, f"{shape[0]} rows are too many; the limit is {model.max_batch} a request")
    if model.context and shape[1] > model.context:
        raise _refusal(tensor, f"{shape[1]} tokens are too many; the model's context is {model.context}")


def _as_array(tensor: InputTensor, shape: Sequence[int]) -> NDArray[Any]:
    nested = any(isinstance(element, list) for element in tensor.data)
    elements = _flatten(tensor, shape if nested else [math.prod(shape)])
    dtype, adapter = _ELEMENTS[tensor.datatype]
    try:
        adapter.validate_python(elements)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise _refusal(tensor, f"element {fault['loc'][0]} is {fault['input']!r:.40}; {fault['msg'].lower()}") from None
    if dtype is np.int64 and not all(_INT64.min <= element <= _INT64.max for element in elements):
        raise _refusal(tensor, "an element does not fit in 64 bits")
    try:
        with np.errstate(over="ignore"):
            array = np.array(elements, dtype=np.float64 if dtype is np.float32 else dtype).astype(dtype).reshape(shape)
    except OverflowError:
        raise _refusal(tensor, "an element does not fit in a float") from None
    if not np.isfinite(array).all():
        raise _refusal(tensor, f"an element is not a finite {tensor.datatype} number")
    return array


def _flatten(tensor: InputTensor, shape: Sequence[int]) -> list[Any]:
    """Elements in row-major order, if `data` is nested exactly as `shape` says."""
    level: list[Any] = [tensor.data]
    for extent in shape:
        for part in level:
            if not isinstance(part, list) or len(part) != extent:
                length = len(part) if isinstance(part, list) else "no list"
                raise _refusal(tensor, f"data does not fit shape {tensor.shape}: {length} where {extent} are needed")
        level = list(chain.from_iterable(level))
    return level


def _first_outside(array: NDArray[Any], limit: int) -> int:
    return int(array[(array < 0) | (array >= limit)][0])


def _refusal(tensor: InputTensor, reason: str) -> RequestError:
    return RequestError(400, f"input {tensor.name!r}: {reason}", field="inputs")
