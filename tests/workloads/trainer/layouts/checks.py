"""What a world of processes is asked to do: train a tiny model in a layout, or alone, and tell how it went."""

import warnings
from dataclasses import dataclass, field, replace

import torch
import torch._dynamo  # what the first optimizer would load, seconds long, in each process
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    ViTConfig,
    ViTForImageClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)
from transformers.models.llama.modeling_llama import LlamaMLP

from workloads.spec.plan import Layout, Plan, RoundPlan, SitePlan
from workloads.spec.recipe import InnerSpec, MlpModel
from workloads.trainer.layouts.muon import ShardedMuon
from workloads.trainer.losses import mean_cross_entropy
from workloads.trainer.model import Mlp
from workloads.trainer.optim import Optimizers, build_optimizer
from workloads.trainer.parallelise import ParallelModel, parallelise
from workloads.trainer.world import make_world

BATCH = 8
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One way to train: which model, how spread, and for how many steps with what."""

    model: str = "llama"
    layout: Layout = field(default_factory=Layout)
    micro_batch: int = 2
    optimizer: str = "muon"
    steps: int = 3
    clip_norm: float | None = None
    precision: str = "fp32"
    activation_checkpointing: bool = False
    settings: tuple[tuple[str, object], ...] = ()  # of the model's configuration


@dataclass(frozen=True)
class Outcome:
    """Losses and gradient norms by step, the first step's gradients, and the parameters at the end."""

    losses: list[float]
    norms: list[float]
    gradients: dict[str, Tensor]
    parameters: dict[str, Tensor]
    logits: Tensor


def build(case: Case) -> nn.Module:
    """The case's model, the same in every process."""
    torch.manual_seed(5)
    if case.model == "mlp":
        return Mlp(MlpModel(kind="mlp", inputs=6, hidden=10, classes=3))
    if case.model == "vit":
        return ViTForImageClassification(
            ViTConfig(
                image_size=8, patch_size=4, num_channels=1, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=4, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
    if case.model == "wav2vec2":
        return Wav2Vec2ForSequenceClassification(
            Wav2Vec2Config(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
                conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
                num_conv_pos_embedding_groups=2, classifier_proj_size=8, num_labels=3, apply_spec_augment=False,
                layerdrop=0.0, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, activation_dropout=0.0,
                final_dropout=0.0,
            )
        )  # fmt: skip
    settings = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 4, "tie_word_embeddings": True, "use_cache": False,
    }  # fmt: skip
    settings = settings | dict(case.settings)
    if case.model == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**settings, head_dim=8))
    if case.model == "phi3":
        return Phi3ForCausalLM(Phi3Config(**settings, pad_token_id=0, bos_token_id=0, eos_token_id=0))
    return LlamaForCausalLM(LlamaConfig(**settings))


def batches(case: Case) -> list[tuple[Tensor, Tensor]]:
    """A site's batch for each step."""
    generator = torch.Generator().manual_seed(11)
    result = []
    for _ in range(case.steps):
        if case.model in {"llama", "qwen3", "phi3"}:
            tokens = torch.randint(0, 64, (BATCH, 13), generator=generator)
            result.append((tokens[:, :-1], tokens[:, 1:]))
        else:
            shape = {"mlp": (6,), "vit": (1, 8, 8), "wav2vec2": (400,)}[case.model]
            inputs = torch.randn(BATCH, *shape, generator=generator)
            result.append((inputs, torch.randint(0, 3, (BATCH,), generator=generator)))
    return result


def plan_of(case: Case) -> tuple[Plan, SitePlan]:
    """The plan of a run of `case` at one site."""
    site = SitePlan(layout=case.layout, batch=BATCH, micro_batch=case.micro_batch)
    plan = Plan(
        rounds=(RoundPlan(steps=1, lr=1.0, momentum=0.0),), overlap_steps=0, bits=32, fragments=1, sites={"aws-1": site},
        precision=case.precision, activation_checkpointing=case.activation_checkpointing,
    )  # fmt: skip
    return plan, site


def parallel_model(rank: int, case: Case) -> ParallelModel:
    """The case's model on this rank."""
    plan, site = plan_of(case)
    return parallelise(build(case), plan, site, make_world(rank, case.layout, _CPU), mean_cross_entropy)


def train(rank: int, case: Case) -> Outcome:
    """Train as `case` says; the same whole tensors come back from every rank that has them."""
    parallel = parallel_model(rank, case)
    optimizer = build_optimizer(_inner(case), parallel)
    losses, norms, gradients = [], [], {}
    for number, batch in enumerate(batches(case)):
        losses.append(parallel.train_step(batch).item())
        if number == 0:
            gradients = {name: whole(p.grad) for name, p in parallel.parameters.items() if p.grad is not None}
        norms.append(parallel.clip_gradients(case.clip_norm or 1e9).item())
        optimizer.step()
    logits = parallel.logits(batches(case)[0][0])
    parameters = {name: whole(parameter) for name, parameter in parallel.parameters.items()}
    return Outcome(losses, norms, gradients, parameters, logits)


def whole(tensor: Tensor) -> Tensor:
    """All values of `tensor`, gathered where they are divided."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def alone(case: Case) -> Outcome:
    """The outcome of `case` in one process and on whole batches."""
    return train(0, replace(case, layout=Layout(), micro_batch=BATCH))


@dataclass(frozen=True)
class Part:
    """What `rewrite_parts` saw on one rank."""

    part: int
    parts: int
    owns: bool
    size: int
    round_trip: bool
    named: dict[str, Tensor]
    doubled: dict[str, Tensor]
    logits: Tensor
    state: dict[str, Tensor] | None


def rewrite_parts(rank: int, case: Case) -> Part:
    """Read the part, double it fragment by fragment, and look at the model then."""
    parallel = parallel_model(rank, case)
    inputs = torch.arange(24).view(2, 12) if case.model == "llama" else torch.ones(2, 6)
    parallel.logits(inputs)
    values = parallel.flatten(slice(0, parallel.size))
    named = {name: whole(tensor) for name, tensor in parallel.name_values(values).items()}
    border = parallel.size // 3
    for fragment in (slice(border, parallel.size), slice(0, border)):
        parallel.unflatten(fragment, 2 * values[fragment])
    round_trip = torch.equal(parallel.flatten(), 2 * values) and torch.equal(
        parallel.flatten(slice(5, border)), 2 * values[5:border]
    )
    return Part(
        parallel.part,
        parallel.parts,
        parallel.owns_part,
        parallel.size,
        round_trip,
        named,
        {name: whole(parameter) for name, parameter in parallel.parameters.items()},
        parallel.logits(inputs),
        parallel.full_state(),
    )


def share(rank: int, case: Case) -> list[float]:
    """The rank's number, or that of the owner of its part."""
    return parallel_model(rank, case).share_part(torch.tensor([float(rank)])).tolist()


def reductions(rank: int, case: Case) -> dict[str, int]:
    """Collectives that add up gradients, by name, in one step."""
    parallel = parallel_model(rank, case)
    parallel.train_step(batches(case)[0])
    with warnings.catch_warnings(action="ignore"), CommDebugMode() as counted:  # which hooks on what it need not
        parallel.train_step(batches(case)[0])
    return {str(name): count for name, count in counted.get_comm_counts().items() if "reduce" in str(name)}


def save(rank: int, case: Case, folder: str) -> None:
    """Train, and save parameters and the optimizer's state."""
    parallel, optimizer = _trained(rank, case)
    dcp.save({"model": dict(parallel.parameters), "optimizer": optimizer.state_dict()}, checkpoint_id=folder)


def go_on(rank: int, case: Case, folder: str) -> list[float]:
    """Load what `save` saved, whatever layout it was in, and the losses from there."""
    parallel = parallel_model(rank, case)
    optimizer = build_optimizer(_inner(case), parallel)
    dcp.load({"model": dict(parallel.parameters), "optimizer": optimizer.state_dict()}, checkpoint_id=folder)
    losses = []
    for batch in batches(case):
        losses.append(parallel.train_step(batch).item())
        optimizer.step()
    return losses


def _trained(rank: int, case: Case) -> tuple[ParallelModel, Optimizers]:
    parallel = parallel_model(rank, case)
    optimizer = build_optimizer(_inner(case), parallel)
    for batch in batches(case):
        parallel.train_step(batch)
        optimizer.step()
    return parallel, optimizer


def _inner(case: Case) -> InnerSpec:
    return InnerSpec(optimizer=case.optimizer, lr=0.01, weight_decay=0.1, batch=BATCH, steps=1)


def muon_steps(rank: int, shards: int, tensor: int) -> list[Tensor]:
    """A matrix after steps of Muon on given gradients, divided among ranks, and the same matrix whole."""
    mesh = init_device_mesh("cpu", (shards, tensor), mesh_dim_names=("dp_shard", "tp"))
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(12, 8, generator=generator)
    divided = nn.Parameter(distribute_tensor(start, mesh, [Shard(0), Shard(1)]))
    plain = nn.Parameter(start.clone())
    settings = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = [ShardedMuon([divided], **settings), torch.optim.Muon([plain], **settings)]
    for _ in range(3):
        gradient = torch.randn(12, 8, generator=generator)
        divided.grad, plain.grad = distribute_tensor(gradient, mesh, [Shard(0), Shard(1)]), gradient
        for optimizer in optimizers:
            optimizer.step()
    return [whole(divided), whole(plain)]


def block_passes(rank: int, case: Case) -> int:
    """How often the feed-forward networks of a llama's blocks are computed in one step, after the first."""
    passes = 0

    def count(module: nn.Module, *_: object) -> None:
        nonlocal passes
        passes += isinstance(module, LlamaMLP)

    parallel = parallel_model(rank, case)
    parallel.train_step(batches(case)[0])
    hook = register_module_forward_pre_hook(count)
    parallel.train_step(batches(case)[0])
    hook.remove()
    return passes
