"""What a model is made of: each piece with its parameters, arithmetic and memory, for one sample. Pure numbers.

Counts follow PyTorch run eagerly, as the trainer runs it: an operation reads its inputs from memory, writes its output,
and autograd keeps that output for the way back.
"""

from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Cost:
    """Sums over a piece of a model. All but `parameters` and `muon_flops` are of the forward pass of one sample."""

    parameters: int = 0
    matmul_flops: float = 0.0
    attention_flops: float = 0.0
    traffic: float = 0.0  # values read or written by operations that go element by element
    kept: float = 0.0  # values that autograd keeps for the backward pass
    operations: float = 0.0  # calls, whatever the batch
    muon_flops: float = 0.0  # of one step of Muon on the hidden matrices
    muon_parameters: int = 0
    muon_matrices: int = 0
    tensors: int = 0

    def __add__(self, other: Self) -> "Cost":
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __mul__(self, count: int) -> "Cost":
        return Cost(*(getattr(self, field.name) * count for field in fields(self)))


def total(*pieces: Cost) -> Cost:
    """All of them."""
    return sum(pieces, Cost())


def linear(rows: float, inputs: int, outputs: int, *, bias: bool = True, hidden: bool = True) -> Cost:
    """A matrix applied at `rows` positions. Muon steps those that are `hidden`, neither embeddings nor heads."""
    parameters = inputs * outputs
    return Cost(
        parameters=parameters + outputs * bias,
        matmul_flops=2 * rows * parameters,
        kept=rows * outputs,
        operations=2,
        muon_flops=_newton_schulz_flops(inputs, outputs) if hidden else 0,
        muon_parameters=parameters if hidden else 0,
        muon_matrices=int(hidden),
        tensors=1 + bias,
    )


def _newton_schulz_flops(rows: int, columns: int) -> float:
    """Five quintic Newton-Schulz iterations on one matrix (Muon, https://kellerjordan.github.io/posts/muon)."""
    short, long = sorted((rows, columns))
    return 5.0 * (4 * short * short * long + 2 * short**3)


def convolution(
    positions: float, inputs: int, outputs: int, kernel: int, *, groups: int = 1, bias: bool = True
) -> Cost:
    """A one-dimensional convolution, or a patch embedding, with `kernel` taps an input channel, at `positions`."""
    weights = inputs // groups * outputs * kernel
    return Cost(
        parameters=weights + outputs * bias,
        matmul_flops=2 * positions * weights,
        traffic=3 * positions * (inputs // groups * kernel + outputs),  # unfolded, as GEMMs need it
        tensors=1 + bias,
        kept=positions * outputs,
        operations=3,
    )


def embedding(rows: float, vocabulary: int, width: int) -> Cost:
    """A table that is looked up at `rows` positions."""
    return Cost(parameters=vocabulary * width, traffic=2 * rows * width, kept=rows * width, operations=2, tensors=1)


def layer_norm(rows: float, width: int) -> Cost:
    """LayerNorm, one fused operation. Also GroupNorm."""
    return Cost(parameters=2 * width, traffic=5 * rows * width, kept=rows * width, operations=2, tensors=2)


def rms_norm(rows: float, width: int) -> Cost:
    """RMSNorm as `transformers` writes it out: square, mean, root, and two products."""
    return Cost(parameters=width, traffic=9 * rows * width, kept=3 * rows * width, operations=8, tensors=1)


def rotary(rows: float, width: int) -> Cost:
    """Rotary positions of queries or keys: two products, a rotated copy and a sum."""
    return Cost(traffic=13 * rows * width, kept=2 * rows * width, operations=8)


def elementwise(values: float, traffic: float, kept: float = 1.0, operations: float = 1.0) -> Cost:
    """`traffic` and `kept` a value."""
    return Cost(traffic=traffic * values, kept=kept * values, operations=operations)


def residual(rows: float, width: int) -> Cost:
    return elementwise(rows * width, traffic=3)


def dropout(values: float, rate: float) -> Cost:
    """Random numbers cost far more than the product with them."""
    return elementwise(values, traffic=12, kept=1.25, operations=2) if rate > 0 else Cost()


def attention(rows: float, heads: int, head_width: int, *, drop: float = 0.0) -> Cost:
    """Scaled dot-product attention of all rows with all rows; with dropout its scores are written out, else never."""
    width = heads * head_width
    scores = elementwise(heads * rows * rows, traffic=6, kept=2, operations=6) if drop > 0 else Cost()
    fused = Cost(attention_flops=4 * rows * rows * width, kept=rows * width, operations=8)
    return fused + scores + dropout(heads * rows * rows, drop)


def activation(kind: str, values: float) -> Cost:
    """A non-linearity by its name in `transformers`."""
    if kind in {"gelu_new", "gelu_pytorch_tanh"}:
        return elementwise(values, traffic=17, kept=5, operations=9)  # written out: cube, sum, tanh and products
    return elementwise(values, traffic=10 if kind == "gelu" else 3, operations=1)


def loss(rows: float, classes: int) -> Cost:
    """Cross-entropy over `classes` at `rows` positions: log-softmax, and its gradient of the same size."""
    return elementwise(rows * classes, traffic=5, kept=2, operations=4)
