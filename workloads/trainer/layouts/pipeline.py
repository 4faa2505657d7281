"""Pipeline parallel: each rank has some of the layers, and micro-batches pass through them one after another."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from workloads.spec.plan import Precision, SitePlan
from workloads.trainer.layouts.cutting import Cut, run_stage
from workloads.trainer.layouts.data import reshard
from workloads.trainer.layouts.flat import local
from workloads.trainer.layouts.running import computing, in_full
from workloads.trainer.losses import Loss
from workloads.trainer.world import PIPELINE

_HIDDEN_DIMS = 3  # [batch, tokens, features]


class Stage(nn.Module):
    """One stage of a model, as a function of a tensor: of token ids the first one, of hidden states the others."""

    def __init__(self, model: nn.Module, *, index: int, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.index = index
        self.precision: Precision = precision

    def forward(self, value: Tensor) -> Tensor:
        """Hidden states, or logits of the last stage: [batch, tokens, ...]."""
        with computing(self.precision, value.device):
            return in_full(run_stage(self.model, value, is_first=self.index == 0))


class Pipeline:
    """This rank's `stages` among those of `cut`: a `Runner`."""

    def __init__(
        self, stages: Sequence[Stage], cut: Cut, site: SitePlan, mesh: DeviceMesh, device: torch.device, loss: Loss
    ) -> None:
        self._stages = {stage.index: stage for stage in stages}
        self._count = cut.stages
        self._ranks = cut.ranks
        self._group = mesh[PIPELINE].get_group()
        self._rank = mesh[PIPELINE].get_local_rank()
        self._device = device

        def loss_in_full(output: Tensor, targets: Tensor) -> Tensor:
            return loss(in_full(output), targets)

        parts = [PipelineStage(stage, stage.index, cut.stages, device, group=self._group) for stage in stages]
        micro_batches = site.batch // site.layout.data_ranks // site.micro_batch
        self._schedule: Schedule1F1B | ScheduleInterleaved1F1B
        if site.layout.schedule == "interleaved":
            self._schedule = ScheduleInterleaved1F1B(list(parts), micro_batches, loss_fn=loss_in_full)
        else:
            self._schedule = Schedule1F1B(parts[0], micro_batches, loss_fn=loss_in_full)

    def train_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """As `Runner.train_step`."""
        losses: list[Tensor] = []
        is_last = self._count - 1 in self._stages
        self._schedule.step(
            *((inputs,) if 0 in self._stages else ()),
            target=targets if is_last else None,
            losses=losses if is_last else None,
            return_outputs=False,
        )
        loss = torch.stack(losses).mean().detach() if is_last else torch.zeros((), device=self._device)
        dist.broadcast(loss, group=self._group, group_src=self._ranks - 1)
        return loss

    def logits(self, inputs: Tensor) -> Tensor:
        """As `Runner.logits`: one stage after another, for any number of samples."""
        value: Tensor | None = inputs
        for index in range(self._count):
            if index in self._stages:
                value = in_full(self._stages[index](cast("Tensor", value)))
                reshard(self._stages[index])
            source = index % self._ranks
            target = (index + 1) % self._ranks if index + 1 < self._count else None  # after the last one: all
            value = self._pass_on(value, source, target)
        return cast("Tensor", value)

    def _pass_on(self, value: Tensor | None, source: int, target: int | None) -> Tensor | None:
        """`value` of rank `source`, on rank `target`, or without one on all."""
        if self._rank not in {source, target} and target is not None:
            return None
        shape = torch.empty(_HIDDEN_DIMS, dtype=torch.int64, device=self._device)
        if value is not None and self._rank == source:
            value = value.contiguous()
            shape.copy_(torch.tensor(value.shape))
        self._move(shape, source, target)
        if value is None or self._rank != source:
            value = torch.empty(shape.tolist(), device=self._device)
        self._move(value, source, target)
        return value

    def _move(self, tensor: Tensor, source: int, target: int | None) -> None:
        if target is None:
            dist.broadcast(tensor, group=self._group, group_src=source)
        elif self._rank == source:
            dist.send(tensor, group=self._group, group_dst=target)
        else:
            dist.recv(tensor, group=self._group, group_src=source)


class Ties:
    """Parameters that the first and the last stage share, each with a copy of its own.

    Gradients are summed over both, so both make the same step (as Megatron-LM does with tied embeddings).
    """

    def __init__(self, shared: Sequence[nn.Parameter], mesh: DeviceMesh) -> None:
        self._shared = shared
        self._group: dist.ProcessGroup | None = None
        pipelines = mesh.mesh.flatten(1).T  # [others, stages]: global ranks
        for ranks in pipelines.tolist():  # every rank has to make every group
            group = dist.new_group([ranks[0], ranks[-1]])
            if isinstance(group, dist.ProcessGroup):  # and not the mark of who is no member
                self._group = group

    def sum_gradients(self) -> None:
        """Give each copy the gradient of both."""
        for parameter in self._shared:
            if parameter.grad is not None:
                dist.all_reduce(local(parameter.grad), group=self._group)

    def copy_values(self) -> None:
        """Give the last stage's copy the first's values."""
        for parameter in self._shared:
            dist.broadcast(local(parameter), group=self._group, group_src=0)


def gather_stages(state: dict[str, Tensor], cut: Cut, mesh: DeviceMesh) -> dict[str, Tensor]:
    """On rank 0 the state of all stages, from `state` on the CPU of each stage's first rank, which all these call."""
    leads = mesh.mesh.flatten(1)[:, 0].tolist()
    whole: dict[str, Tensor] = {}
    for name, (shape, dtype) in cut.shapes.items():
        lead = leads[cut.rank_of(name)]
        if mesh.get_rank() == lead:
            whole[name] = state[name].to(dtype).contiguous()
            if lead != 0:
                dist.send(whole[name], dst=0)
        elif mesh.get_rank() == 0:
            whole[name] = torch.empty(shape, dtype=dtype)
            dist.recv(whole[name], src=lead)
    return whole
