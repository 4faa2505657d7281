"""How much memory a model takes: parameters counted exactly, and the peak of one worker by layout and precision."""

from dataclasses import dataclass

from workloads.planning.architecture import Architecture
from workloads.planning.recognise import architecture
from workloads.spec.plan import Layout, Precision
from workloads.spec.recipe import InnerSpec, Recipe

RUNTIME_BYTES = 450 << 20  # of a worker before it has a model: Python, torch, transformers, gRPC
_GPU_RUNTIME_BYTES = 1 << 30  # CUDA context, cuBLAS and NCCL workspaces
_FP32 = 4
_OUTER_BYTES = 4 * _FP32  # a value of the exchange: shared parameters, momentum, residual, snapshot; the rest is reused


def parameter_count(recipe: Recipe) -> int:
    """Parameters, a tied one once.

    Raises:
        UserError: the model is of a kind that the planner does not know.
    """
    return architecture(recipe).whole.parameters


@dataclass(frozen=True)
class Memory:
    """Peak of one worker, in bytes."""

    model: float  # parameters, gradients and the optimizer's state
    activations: float
    outer: float  # state of the merge between sites, in main memory
    runtime: float
    on_accelerator: bool

    @property
    def device(self) -> int:
        """Of the memory that the model lives in."""
        beside = 0.0 if self.on_accelerator else self.outer
        return round(self.model + self.activations + self.runtime + beside)

    @property
    def host(self) -> int:
        """Of main memory."""
        return round(self.outer + RUNTIME_BYTES) if self.on_accelerator else self.device


def state_bytes(inner: InnerSpec) -> int:
    """Bytes of optimizer state a parameter: two moments (AdamW), one (Muon), none (SGD). Muon's rest counts as its own."""
    return {"adamw": 2 * _FP32, "muon": _FP32, "sgd": 0}[inner.optimizer]


def worker_memory(
    model: Architecture,
    inner: InnerSpec,
    layout: Layout,
    micro_batch: int,
    *,
    precision: Precision,
    checkpointing: bool,
    in_flight: int,
    on_accelerator: bool,
) -> Memory:
    """Memory of the worker that needs most, with `in_flight` micro-batches on their way through a pipeline."""
    whole = model.whole
    width = 2 if precision == "bf16" else _FP32
    values = whole.parameters / layout.parts
    unsharded = model.layer.parameters / layout.tensor if layout.shards > 1 else whole.parameters / layout.parts
    copies = width * unsharded if precision == "bf16" or layout.shards > 1 else 0.0
    rest = whole.parameters - whole.muon_parameters
    moments = state_bytes(inner) + (_FP32 * rest / max(1, whole.parameters) if inner.optimizer == "muon" else 0)
    return Memory(
        model=values * (2 * _FP32 + moments) + copies,
        activations=width * micro_batch * kept_values(model, layout, checkpointing=checkpointing, in_flight=in_flight),
        outer=_OUTER_BYTES * values,
        runtime=_GPU_RUNTIME_BYTES if on_accelerator else RUNTIME_BYTES,
        on_accelerator=on_accelerator,
    )


def kept_values(model: Architecture, layout: Layout, *, checkpointing: bool, in_flight: int) -> float:
    """Values that one sample leaves for the backward pass in the worker that keeps most.

    With checkpointing a layer leaves its input alone, and one layer at a time is computed again.
    """
    layers = -(-model.layers // layout.pipeline)
    layer = model.layer.kept / layout.tensor
    boundary = model.rows * model.width
    kept = layers * boundary + layer if checkpointing else layers * layer
    return kept * in_flight + model.ends.kept
