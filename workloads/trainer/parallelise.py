"""How a model is spread over the ranks of a site. The model itself knows nothing of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from workloads.spec.errors import UserError
from workloads.spec.plan import Layout, Plan, Precision, SitePlan
from workloads.trainer.layouts import anatomy
from workloads.trainer.layouts.cutting import Cut, plan_cut
from workloads.trainer.layouts.data import shard
from workloads.trainer.layouts.flat import FlatPart, local, settle
from workloads.trainer.layouts.pipeline import Pipeline, Stage, Ties, gather_stages
from workloads.trainer.layouts.running import Runner, WholeModel, recompute
from workloads.trainer.layouts.tensor import check_tensor, divide
from workloads.trainer.losses import Loss
from workloads.trainer.world import PIPELINE, REPLICATE, SHARD, TENSOR, World

Batch = tuple[Any, Any]  # inputs and targets of the site's whole batch: arrays or tensors [batch, ...]


class ParallelModel:
    """A model on this rank of a site. Methods that train, predict, write or share are called by all ranks together.

    `parameters` and `buffers` are this rank's, by the name that the whole model has for them; `hidden_matrices` names
    those of the whole model that Muon is made for. `part` of `parts` says which values of the model a rank holds, and
    `data_rank` which samples of a batch it works on: ranks with the same samples have to draw the same dropout.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        runner: Runner,
        site: SitePlan,
        world: World,
        *,
        hidden_matrices: frozenset[str],
        cut: Cut | None = None,
    ) -> None:
        tied = cut.tied if cut is not None else {}
        own = [(name, parameter) for model in models for name, parameter in model.named_parameters()]
        self.parameters: Mapping[str, Tensor] = {tied.get(name, name): parameter for name, parameter in own}
        self.buffers: Mapping[str, Tensor] = {name: b for model in models for name, b in model.named_buffers()}
        self.hidden_matrices = hidden_matrices
        self.parts = site.layout.parts
        self.part = _part(site.layout, world)
        self.data_rank = _data_rank(site.layout, world)
        self._models = models
        self._runner = runner
        self._site = site
        self._world = world
        self._cut = cut
        shared = [parameter for name, parameter in own if name in {*tied, *tied.values()}]
        self._ties = Ties(shared, world.mesh) if tied and world.mesh is not None else None
        self._flat = FlatPart({name: parameter for name, parameter in own if name not in tied}, world.mesh)

    @property
    def owns_part(self) -> bool:
        """Whether this rank, and no replica of it, speaks for its part."""
        return self._world.mesh is None or self._world.mesh[REPLICATE].get_local_rank() == 0

    @property
    def size(self) -> int:
        """Values in this rank's part."""
        return self._flat.size

    def train_step(self, batch: Batch) -> Tensor:
        """Set the gradients to those of the mean loss over the site's whole `batch`, of which this rank takes its share.

        Returns the site's mean loss, the same on all ranks. Raises `UserError` if the batch is not the plan's.
        """
        inputs, targets = (self._share(torch.as_tensor(array)) for array in batch)
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = self._runner.train_step(inputs, targets).detach()
        settle(self.parameters.values())
        if self._ties is not None:
            self._ties.sum_gradients()
        return self._world.mean(loss)

    @torch.no_grad()
    def clip_gradients(self, max_norm: float) -> Tensor:
        """Scale the gradients to a norm of `max_norm` at most, over the whole model. Returns the norm before that."""
        squares = self._flat.squared_gradients().to(self._world.device)
        if self._world.size > 1:
            dist.all_reduce(squares)
        norm = (squares / self._site.layout.replicas).sqrt().float()
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
        gradients = [local(parameter.grad) for parameter in self.parameters.values() if parameter.grad is not None]
        torch._foreach_mul_(gradients, factor)
        return norm

    @torch.no_grad()
    def logits(self, inputs: Any) -> Tensor:
        """Logits of `inputs` [batch, ...], the same on all ranks, without dropout; the mode of training is left as it was."""
        were_training = [model.training for model in self._models]
        for model in self._models:
            model.eval()
        output = self._runner.logits(torch.as_tensor(inputs).to(self._world.device))
        for model, was_training in zip(self._models, were_training, strict=True):
            model.train(was_training)
        return output

    @torch.no_grad()
    def flatten(self, fragment: slice = slice(None)) -> Tensor:
        """Values of `fragment` of this rank's part: fp32 on the CPU, a copy."""
        return self._flat.read(fragment)

    @torch.no_grad()
    def unflatten(self, fragment: slice, values: Tensor) -> None:
        """Set `fragment` of this rank's part to `values`, and with it what other ranks hold copies of."""
        self._flat.write(fragment, values)
        if self._ties is not None:
            self._ties.copy_values()

    def share_part(self, values: Tensor) -> Tensor:
        """Fill `values`, of any shape, with those of the rank that owns the part; returns it."""
        if self._site.layout.replicas > 1 and self._world.mesh is not None:
            shared = values.to(self._world.device)
            dist.broadcast(shared, group=self._world.mesh[REPLICATE].get_group(), group_src=0)
            if shared is not values:
                values.copy_(shared)
        return values

    def name_values(self, vector: Tensor) -> dict[str, Tensor]:
        """`vector` [size], something with a value for each of the part's, by parameter name; views, so loading fills it.

        Where a parameter is divided its values are a DTensor of the global shape: what one layout saves another loads.
        """
        return self._flat.name(vector)

    @torch.no_grad()
    def full_state(self) -> dict[str, Tensor] | None:
        """The whole model as its plain class would have it in `state_dict`, on the CPU of rank 0; None elsewhere."""
        mesh = self._world.mesh
        leads = mesh is None or all(mesh[name].get_local_rank() == 0 for name in (REPLICATE, SHARD, TENSOR))
        state: dict[str, Tensor] = {}
        for model in self._models:
            for name, tensor in model.state_dict().items():
                whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                if leads:
                    state[name] = whole.detach().cpu().clone()
        if self._cut is not None and mesh is not None and leads:
            state = gather_stages(state, self._cut, mesh)
        return state if self._world.is_first else None

    def _share(self, samples: Tensor) -> Tensor:
        if len(samples) != self._site.batch:
            raise UserError(
                f"a step has {len(samples)} samples, and the plan {self._site.batch}; give the site's batch"
            )
        share = self._site.batch // self._site.layout.data_ranks
        return samples[self.data_rank * share : (self.data_rank + 1) * share].to(self._world.device)


def parallelise(model: nn.Module, plan: Plan, site: SitePlan, world: World, loss: Loss) -> ParallelModel:
    """`model`, which is whole and the same on every rank, spread over `world` by the layout of `site`.

    Let go of `model` after that: of it only what is this rank's is still used.

    Raises:
        UserError: the model cannot be split so; the message says what can be.
    """
    layout = site.layout
    hidden = anatomy.hidden_matrices(model)
    if layout.tensor > 1:
        check_tensor(model, layout.tensor)
    if layout.pipeline > 1 and world.mesh is not None:
        cut = plan_cut(model, site)
        mine = range(world.mesh[PIPELINE].get_local_rank(), cut.stages, layout.pipeline)
        stages = [Stage(cut.stage(model, index), index=index, precision=_own_precision(plan, layout)) for index in mine]
        for stage in stages:
            _spread(stage.model, stage, plan, layout, world)
        runner: Runner = Pipeline(stages, cut, site, world.mesh, world.device, loss)
        models = [stage.model for stage in stages]
        return ParallelModel(models, runner, site, world, hidden_matrices=hidden, cut=cut)
    _spread(model, model, plan, layout, world)
    is_replicated = layout.replicas == layout.ranks > 1
    runner = WholeModel(model, loss, site.micro_batch, _own_precision(plan, layout), replicas=is_replicated)
    return ParallelModel([model], runner, site, world, hidden_matrices=hidden)


def _spread(model: nn.Module, root: nn.Module, plan: Plan, layout: Layout, world: World) -> None:
    """Take `model` to its device and divide it among the ranks that share it; `root` is it or contains it."""
    model.to(world.device)
    blocks = list(anatomy.blocks(model).values())
    if plan.activation_checkpointing:
        for block in blocks:
            recompute(block)
    if world.mesh is None:
        return
    if layout.tensor > 1:
        divide(model, world.mesh[TENSOR])
    if _shards(layout):
        shard(root, blocks, world.mesh, layout, plan.precision)


def _shards(layout: Layout) -> bool:
    """Whether FSDP2 is what the data ranks share work by. Replicas of a whole model have DDP; of parts of one, HSDP."""
    return layout.data_ranks > 1 and layout.replicas < layout.ranks


def _own_precision(plan: Plan, layout: Layout) -> Precision:
    """What the model's runner is to compute in: shards have a policy of their own."""
    return "fp32" if _shards(layout) else plan.precision


def _part(layout: Layout, world: World) -> int:
    if world.mesh is None:
        return 0
    stage, shard_rank, tensor_rank = (world.mesh[name].get_local_rank() for name in (PIPELINE, SHARD, TENSOR))
    return (stage * layout.shards + shard_rank) * layout.tensor + tensor_rank


def _data_rank(layout: Layout, world: World) -> int:
    if world.mesh is None:
        return 0
    return world.mesh[REPLICATE].get_local_rank() * layout.shards + world.mesh[SHARD].get_local_rank()
