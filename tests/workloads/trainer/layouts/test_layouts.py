"""Every layout trains as one process does on the same batch.

Tolerances, absolute, in fp32: 5e-6 for losses and gradient norms, 5e-7 for gradients, 1e-6 for parameters after three
steps of SGD, 5e-5 of AdamW (which divides small gradients by small moments) and 2e-3 of Muon (which rounds to bf16).
"""

import functools
from dataclasses import replace

import pytest
import torch

from tests.workloads.trainer.layouts.checks import Case, alone, block_passes, train
from workloads.spec.plan import Layout

_PARAMETERS = {"sgd": 1e-6, "adamw": 5e-5, "muon": 2e-3}
_LATER_LOSSES = {"sgd": 5e-6, "adamw": 5e-6, "muon": 1e-4}  # after steps that differ as the parameters may
_INTERLEAVED = Layout(pipeline=2, schedule="interleaved")

reference = functools.cache(alone)


def assert_same_training(world, case):
    expected = reference(replace(case, layout=Layout(), micro_batch=8, activation_checkpointing=False))
    outcomes = world.run(train, case)
    seen = set()
    for outcome in outcomes:
        assert (outcome.losses, outcome.norms) == (outcomes[0].losses, outcomes[0].norms)
        assert outcome.losses[0] == pytest.approx(expected.losses[0], abs=5e-6)
        assert outcome.norms[0] == pytest.approx(expected.norms[0], abs=5e-6)
        assert outcome.losses == pytest.approx(expected.losses, abs=_LATER_LOSSES[case.optimizer])
        for name, gradient in outcome.gradients.items():
            torch.testing.assert_close(gradient, expected.gradients[name], rtol=0, atol=5e-7)
        for name, parameter in outcome.parameters.items():
            tolerance = _PARAMETERS[case.optimizer]
            torch.testing.assert_close(parameter, expected.parameters[name], rtol=0, atol=tolerance)
        torch.testing.assert_close(outcome.logits, expected.logits, rtol=0, atol=3 * _PARAMETERS[case.optimizer])
        seen |= outcome.gradients.keys()
    assert seen == expected.gradients.keys()


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize(
    "layout", [Layout(replicas=2), Layout(shards=2), Layout(tensor=2), Layout(pipeline=2), _INTERLEAVED], ids=str
)
def test_two_ranks_train_a_llama_as_one_does(two, layout, optimizer):
    assert_same_training(two, Case(layout=layout, optimizer=optimizer, clip_norm=0.5))


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(replicas=2, shards=2),
        Layout(shards=4),
        Layout(shards=2, tensor=2),
        Layout(replicas=2, tensor=2),
        Layout(pipeline=2, shards=2),
        Layout(pipeline=2, replicas=2),
        Layout(pipeline=2, tensor=2),
        Layout(pipeline=4),
        Layout(pipeline=2, shards=2, schedule="interleaved"),
    ],
    ids=lambda layout: f"{layout} {layout.schedule}",
)
def test_four_ranks_train_a_llama_as_one_does(four, layout, optimizer):
    assert_same_training(four, Case(layout=layout, optimizer=optimizer, micro_batch=1, clip_norm=0.5))


@pytest.mark.parametrize(
    "layout",
    [Layout(pipeline=2, shards=2, tensor=2), Layout(pipeline=2, replicas=2, shards=2, schedule="interleaved")],
    ids=lambda layout: f"{layout} {layout.schedule}",
)
def test_eight_ranks_train_a_llama_as_one_does(eight, layout):
    assert_same_training(eight, Case(layout=layout, optimizer="sgd", micro_batch=1, clip_norm=0.5))


@pytest.mark.parametrize("model", ["mlp", "vit"])
@pytest.mark.parametrize("layout", [Layout(replicas=2), Layout(shards=2), Layout(tensor=2)], ids=str)
def test_networks_and_vision_transformers_train_as_on_one_rank(two, model, layout):
    assert_same_training(two, Case(model=model, layout=layout, optimizer="adamw"))


def test_an_audio_model_that_leaves_parameters_unused_trains_on_replicas(two):
    assert_same_training(two, Case(model="wav2vec2", layout=Layout(replicas=2), optimizer="sgd"))


@pytest.mark.parametrize("layout", [Layout(shards=2), Layout(tensor=2), Layout(pipeline=2)], ids=str)
def test_weights_that_are_not_tied_and_grouped_heads_train_the_same(two, layout):
    settings = (("tie_word_embeddings", False), ("num_key_value_heads", 2), ("vocab_size", 65))
    assert_same_training(two, Case(layout=layout, optimizer="sgd", settings=settings))


@pytest.mark.parametrize("model", ["qwen3", "phi3"])  # with a norm of each head; with fused projections
def test_other_plans_of_transformers_train_the_same_under_tensor_parallel(two, model):
    assert_same_training(two, Case(model=model, layout=Layout(tensor=2), optimizer="sgd"))


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8])
def test_micro_batches_add_up_to_the_batch(micro_batch):
    case = Case(optimizer="sgd", micro_batch=micro_batch)
    expected, outcome = reference(replace(case, micro_batch=8)), train(0, case)
    for name, gradient in outcome.gradients.items():
        torch.testing.assert_close(gradient, expected.gradients[name], rtol=0, atol=5e-7)


@pytest.mark.parametrize(
    "layout", [Layout(), Layout(replicas=2), Layout(shards=2), Layout(tensor=2), Layout(pipeline=2)], ids=str
)
def test_recomputing_activations_changes_no_gradient(two, layout):
    case = Case(layout=layout, optimizer="sgd", steps=1)
    run = two.run if layout.ranks == 2 else lambda check, *arguments: [check(0, *arguments)]
    for kept, recomputed in zip(
        run(train, case), run(train, replace(case, activation_checkpointing=True)), strict=True
    ):
        assert kept.losses == recomputed.losses
        for name, gradient in kept.gradients.items():
            torch.testing.assert_close(gradient, recomputed.gradients[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "layout", [Layout(), Layout(replicas=2), Layout(shards=2), Layout(tensor=2), Layout(pipeline=2)], ids=str
)
def test_recomputing_passes_each_block_twice(two, layout):
    once, twice = (
        Case(layout=layout, micro_batch=4, activation_checkpointing=recomputes) for recomputes in (False, True)
    )
    if layout.ranks == 1:
        assert 2 * block_passes(0, once) == block_passes(0, twice)
    else:
        assert [2 * passes for passes in two.run(block_passes, once)] == two.run(block_passes, twice)


@pytest.mark.parametrize(
    "layout", [Layout(), Layout(replicas=2), Layout(shards=2), Layout(tensor=2), Layout(pipeline=2)], ids=str
)
def test_bf16_is_near_fp32_and_keeps_parameters_in_fp32(two, layout):
    case = Case(layout=layout, optimizer="sgd", precision="bf16")
    expected = reference(replace(case, layout=Layout(), precision="fp32", micro_batch=8))
    outcomes = two.run(train, case) if layout.ranks == 2 else [train(0, case)]
    for outcome in outcomes:
        assert outcome.losses == pytest.approx(expected.losses, abs=1e-2)
        assert {parameter.dtype for parameter in outcome.parameters.values()} == {torch.float32}
        for name, gradient in outcome.gradients.items():
            assert gradient.dtype == torch.float32
            error = (gradient - expected.gradients[name]).norm() / expected.gradients[name].norm()
            assert 5e-4 < error < 0.03  # seen, so it was bf16, and small
