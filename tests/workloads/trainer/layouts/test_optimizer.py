"""Muon for the hidden matrices and AdamW for the rest, as one optimizer, on whole and on divided parameters."""

import pytest
import torch
from torch import nn

from tests.workloads.trainer.layouts import checks
from tests.workloads.trainer.layouts.checks import BATCH, Case, batches, build, parallel_model
from workloads.spec.recipe import InnerSpec
from workloads.trainer.optim import build_optimizer, set_learning_rate


def optimizer_of(name, model="llama"):
    parallel = parallel_model(0, Case(model=model))
    spec = InnerSpec(optimizer=name, lr=0.01, weight_decay=0.5, batch=BATCH, steps=1)
    return parallel, build_optimizer(spec, parallel)


@pytest.mark.parametrize(("shards", "tensor"), [(2, 1), (1, 2)])
def test_muon_on_a_divided_matrix_is_muon_on_the_whole_to_the_bit(two, shards, tensor):
    for divided, whole in two.run(checks.muon_steps, shards, tensor):
        assert torch.equal(divided, whole)


def test_muon_on_a_matrix_divided_both_ways_is_muon_on_the_whole_to_the_bit(four):
    for divided, whole in four.run(checks.muon_steps, 2, 2):
        assert torch.equal(divided, whole)


@pytest.mark.parametrize(
    ("model", "others"),
    [
        ("llama", {"model.embed_tokens.weight", "model.norm.weight"}),
        ("mlp", {"hidden.bias", "output.weight", "output.bias"}),
        (
            "vit",
            {
                "vit.embeddings.cls_token",
                "vit.embeddings.position_embeddings",
                "vit.embeddings.patch_embeddings.projection.weight",
                "vit.embeddings.patch_embeddings.projection.bias",
                "vit.layernorm.weight",
                "vit.layernorm.bias",
                "classifier.weight",
                "classifier.bias",
            },
        ),
    ],
)
def test_muon_takes_the_hidden_matrices_and_adamw_embeddings_head_norms_and_biases(model, others):
    parallel, optimizer = optimizer_of("muon", model)
    momentum = {name.rpartition(".")[0] for name in optimizer.state_dict() if name.endswith(".momentum_buffer")}
    moments = {name.rpartition(".")[0] for name in optimizer.state_dict() if name.endswith(".exp_avg")}
    in_blocks = {name for name in parallel.parameters if "norm" in name or name.endswith("bias")}
    assert moments == others | in_blocks
    assert momentum == parallel.parameters.keys() - moments
    assert all(parallel.parameters[name].ndim == 2 for name in momentum)


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_weight_decay_is_for_matrices_and_one_rate_for_all(name):
    _, optimizer = optimizer_of(name)
    for group in optimizer.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] == 0.5}
    set_learning_rate(optimizer, 0.25)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}


def test_muon_has_the_recipe_s_momentum():
    parallel, usual = optimizer_of("muon")
    other = build_optimizer(InnerSpec(lr=0.01, batch=BATCH, steps=1, muon_momentum=0.5), parallel)
    momenta = [{group["momentum"] for group in each.param_groups if "momentum" in group} for each in (usual, other)]
    assert momenta == [{0.9}, {0.5}]


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_an_optimizer_that_loads_another_s_state_goes_on_like_it(name):
    (first, optimizer), (second, other) = optimizer_of(name), optimizer_of(name)
    first.train_step(batches(Case())[0])
    optimizer.step()
    second.unflatten(slice(None), first.flatten())
    other.load_state_dict({key: tensor.clone() for key, tensor in optimizer.state_dict().items()})
    for parallel, steps in ((first, optimizer), (second, other)):
        parallel.train_step(batches(Case())[1])
        steps.step()
    assert torch.equal(first.flatten(), second.flatten())


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_making_an_optimizer_changes_no_parameter(name):
    parallel, _ = optimizer_of(name)
    assert torch.equal(parallel.flatten(), nn.utils.parameters_to_vector(build(Case()).parameters()))


def test_gradients_are_clipped_as_torch_clips_them():
    parallel, model = parallel_model(0, Case()), build(Case())
    inputs, targets = batches(Case())[0]
    parallel.train_step((inputs, targets))
    nn.functional.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten()).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert parallel.clip_gradients(0.1).item() == pytest.approx(norm.item(), rel=1e-6)
    for name, parameter in parallel.parameters.items():
        torch.testing.assert_close(parameter.grad, model.get_parameter(name).grad, rtol=1e-5, atol=1e-8)
    assert parallel.clip_gradients(1e9).item() == pytest.approx(0.1, rel=1e-5)
