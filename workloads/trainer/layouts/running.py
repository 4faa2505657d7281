"""A step of a model that is on each rank from first layer to last: accumulation, precision, recomputation."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from workloads.spec.plan import Precision
from workloads.trainer.layouts.data import replicate, reshard
from workloads.trainer.losses import Loss
from workloads.trainer.model import logits


class Runner(Protocol):
    """Runs the model on this rank's samples; all ranks of the site call each method together."""

    def train_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Accumulate the gradients of the mean loss over `inputs` [batch, ...]; returns that loss, on every rank."""

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits of `inputs`, on every rank."""


class WholeModel:
    """`model`, sharded or not, on micro-batches of `micro_batch` samples; with `replicas`, ranks average gradients (DDP)."""

    def __init__(
        self, model: nn.Module, loss: Loss, micro_batch: int, precision: Precision, *, replicas: bool = False
    ) -> None:
        self._model = model
        self._loss = loss
        self._micro_batch = micro_batch
        self._precision = precision
        self._replicas = replicas
        self._called = model  # by a training step

    def train_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """As `Runner.train_step`; ranks reduce gradients once, with the last micro-batch."""
        parts = list(zip(torch.split(inputs, self._micro_batch), torch.split(targets, self._micro_batch), strict=True))
        if self._replicas and self._called is self._model:
            self._called = replicate(self._model, leaves_some_unused=self._leaves_some_unused(*parts[0]))
        losses = []
        for number, (some_inputs, some_targets) in enumerate(parts, start=1):
            with self._reducing(now=number == len(parts)):
                loss = self._mean_loss(some_inputs, some_targets) / len(parts)
                torch.autograd.backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def logits(self, inputs: Tensor) -> Tensor:
        """As `Runner.logits`."""
        with computing(self._precision, inputs.device):
            output = in_full(logits(self._model, inputs))
        reshard(self._model)
        return output

    def _mean_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with computing(self._precision, inputs.device):
            output = logits(self._called, inputs)
        return self._loss(in_full(output), targets)

    def _leaves_some_unused(self, inputs: Tensor, targets: Tensor) -> bool:
        """Whether a step uses some parameters not at all, which DDP has to know."""
        parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        devices = [inputs.device] if inputs.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # training draws as if this had not been
            loss = self._mean_loss(inputs, targets)
        return any(gradient is None for gradient in torch.autograd.grad(loss, parameters, allow_unused=True))

    def _reducing(self, *, now: bool) -> AbstractContextManager[None]:
        if isinstance(self._called, FSDPModule):
            self._called.set_requires_gradient_sync(now)
        elif isinstance(self._called, DistributedDataParallel) and not now:
            return cast("AbstractContextManager[None]", self._called.no_sync())
        return nullcontext()


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Where matrix products are made in `precision`; parameters and sums keep theirs."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def in_full(output: Tensor) -> Tensor:
    """`output` in at least fp32, in which a loss is computed."""
    return output.float() if output.dtype == torch.bfloat16 else output


def recompute(block: nn.Module) -> None:
    """Have `block` forget its activations and compute them again in the backward pass (arXiv 1604.06174)."""
    whole = cast("Any", block)
    whole.forward = partial(checkpoint, block.forward, use_reentrant=False)
