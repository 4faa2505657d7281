"""How long an inner step takes: arithmetic, memory traffic and calls, on top of what the site's workers were measured at.

Four numbers of a machine (see `calibrate`) and the four factors below, fitted once on 11 Llamas and ViTs with 1 to 16
samples a batch on an AMD EPYC core; `tests/bench/bench_planner.py` says how far off they are on this one.
"""

from dataclasses import dataclass

from workloads.planning.architecture import Architecture
from workloads.planning.layers import Cost
from workloads.planning.speed import Speed
from workloads.spec.plan import Layout, Precision
from workloads.spec.recipe import InnerSpec, Recipe

_PASSES = 3  # forward, and backward for inputs and for parameters
_ATTENTION = 1.25  # an attention FLOP costs as much as so many of a plain product
_TRAFFIC = 1.82  # tensors in training are fresh memory as often as not, a copy between two buffers never is
_CALLS = 3.6  # a module's call, its autograd nodes and views, in operations
_NEWTON_SCHULZ = 1.2  # its products are small, and scaled and added to in between
_MATRIX_CALLS = 60  # of Muon, for each of its matrices
_OPTIMIZER_PASSES = {"adamw": 7, "muon": 9, "sgd": 3}  # over the parameters, a read or write of fp32 each
_CLIP_PASSES = 4
_TENSOR_CALLS = 3.5  # of clipping and stepping, for each parameter tensor
_EXPOSED = 0.3  # share of the exchange of gradients and of gathered parameters that no computation covers
_LOOP_S = 1.5e-3  # the trainer's own work a step: the batch, its events, its checks


@dataclass(frozen=True)
class StepTime:
    """Seconds of one inner step, by what they go into."""

    compute: float  # forward and backward
    optimizer: float
    exchange: float  # between the site's workers
    loop: float = _LOOP_S

    @property
    def total(self) -> float:
        """Their sum."""
        return self.compute + self.optimizer + self.exchange + self.loop


def sample_flops(recipe_model: Architecture) -> float:
    """Floating-point operations of one sample, there and back; nothing that is computed again is counted twice."""
    whole = recipe_model.whole
    return _PASSES * (whole.matmul_flops + whole.attention_flops)


def micro_batch_s(cost: Cost, samples: float, speed: Speed, precision: Precision, passes: float = _PASSES) -> float:
    """Seconds that one worker needs for `samples` samples of a piece of the model, forward and backward."""
    width = 2 if precision == "bf16" else 4
    arithmetic = (cost.matmul_flops + _ATTENTION * cost.attention_flops) / speed.flops
    traffic = _TRAFFIC * width * cost.traffic / speed.memory_bytes_s
    return passes * samples * (arithmetic + traffic) + passes / _PASSES * _CALLS * cost.operations * speed.operation_s


def step_time(
    model: Architecture,
    recipe: Recipe,
    layout: Layout,
    batch: int,
    micro_batch: int,
    speed: Speed,
    *,
    precision: Precision,
    checkpointing: bool,
) -> StepTime:
    """One step of a site on `batch` samples, each data rank working on `micro_batch` at a time."""
    inner = recipe.train.inner
    micro_batches = batch // (layout.data_ranks * micro_batch)
    layers = -(-model.layers // layout.pipeline)
    repeated = _PASSES + 1 if checkpointing else _PASSES  # the layers' forward pass is made twice
    one = micro_batch_s(model.layer * layers, micro_batch / layout.tensor, speed, precision, repeated) + micro_batch_s(
        model.ends, micro_batch, speed, precision
    )
    slots = micro_batches + (layout.pipeline - 1)  # of 1F1B: GPipe's bubble, arXiv 1811.06965
    return StepTime(
        compute=one * slots,
        optimizer=optimizer_s(model, inner, layout, speed),
        exchange=_exchange_s(model, layout, micro_batch, micro_batches, speed, precision),
    )


def optimizer_s(model: Architecture, inner: InnerSpec, layout: Layout, speed: Speed) -> float:
    """Seconds of one optimizer step of one worker, clipping included."""
    whole, values = model.whole, model.whole.parameters / layout.parts
    passes = _OPTIMIZER_PASSES[inner.optimizer] + (_CLIP_PASSES if inner.clip_norm else 0)
    seconds = 4 * passes * values / speed.memory_bytes_s
    seconds += _TENSOR_CALLS * whole.tensors / layout.pipeline * speed.operation_s
    if inner.optimizer == "muon":
        seconds += _NEWTON_SCHULZ * whole.muon_flops / layout.pipeline / speed.optimizer_flops
        seconds += _MATRIX_CALLS * whole.muon_matrices * speed.operation_s
    return seconds


def _exchange_s(
    model: Architecture, layout: Layout, micro_batch: int, micro_batches: int, speed: Speed, precision: Precision
) -> float:
    """Seconds on the site's own network: gradients (DDP, FSDP), activations (tensor parallel, pipeline)."""
    width = 2 if precision == "bf16" else 4
    values = model.whole.parameters / (layout.tensor * layout.pipeline)
    boundary = width * micro_batch * model.rows * model.width * micro_batches
    ring = _ring(layout.replicas) * 2 * 4 * values / layout.shards
    gathered = _ring(layout.shards) * (2 * width * micro_batches + 4) * values
    split = (
        _ring(layout.tensor) * 8 * boundary * model.layers / layout.pipeline
    )  # two all-reduces a pass, there and back
    stages = 2 * boundary if layout.pipeline > 1 else 0.0
    return (_EXPOSED * (ring + gathered) + split + stages) / speed.interconnect_bytes_s


def _ring(members: int) -> float:
    """Share of a tensor that each member sends in a ring."""
    return (members - 1) / members
