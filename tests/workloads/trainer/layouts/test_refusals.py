"""What a layout cannot do is said in one line: the value, the limit and the remedy."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from tests.workloads.trainer.layouts.checks import BATCH, Case, batches, build, parallel_model
from workloads.spec.errors import UserError
from workloads.spec.plan import Layout, SitePlan
from workloads.trainer.layouts.cutting import plan_cut
from workloads.trainer.layouts.tensor import check_tensor
from workloads.trainer.world import join_world


def site(micro_batch=1, **degrees):
    return SitePlan(layout=Layout(**degrees), batch=12, micro_batch=micro_batch)


def small_gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2))


def small_mixtral():
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, num_local_experts=2,
        )
    )  # fmt: skip


def small_gemma():
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, head_dim=8,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (site(pipeline=3), "layout pp 3: the model has 4 blocks, which do not divide into 3 stages (1f1b); use pp 1 or 2 or 4"),
        (site(pipeline=4, schedule="interleaved"), "do not divide into 8 stages (interleaved); use pp 1 or 2"),
        (site(pipeline=4, micro_batch=6), "a step has 2 micro-batches of 6, and as many as stages are needed, 4; use micro-batches of 3"),
        (SitePlan(layout=Layout(pipeline=2, schedule="interleaved"), batch=5, micro_batch=1), "5 micro-batches do not divide into rounds of 2; use a multiple of 2"),
    ],
)  # fmt: skip
def test_a_cut_that_does_not_fit_the_model_or_the_batch_is_refused(plan, words):
    with pytest.raises(UserError, match=".") as refused:
        plan_cut(build(Case()), plan)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: build(Case(model="mlp")), "no way is known to cut a Mlp into stages; use pp 1"),
        (lambda: build(Case(model="vit")), "no way is known to cut a ViTForImageClassification into stages; use pp 1"),
        (small_gpt2, "no way is known to cut a GPT2LMHeadModel into stages; use pp 1"),
        # it scales embeddings, and would do so again in the second stage
        (small_gemma, "a Gemma2ForCausalLM in stages does not compute what it does whole; use pp 1"),
    ],
)
def test_a_model_that_no_cut_is_known_for_is_refused(model, words):
    with pytest.raises(UserError, match=words):
        plan_cut(model(), site(pipeline=2))


@pytest.mark.parametrize(
    ("model", "degree", "words"),
    [
        (lambda: build(Case()), 3, "layout tp 3: 4 attention heads do not divide; use tp 1, 2 or 4"),
        (lambda: build(Case(settings=(("num_key_value_heads", 2),))), 4, "2 attention heads do not divide; use tp 1 or 2"),
        (lambda: build(Case(settings=(("intermediate_size", 42),))), 4, "gate_proj is 42 wide, which does not divide"),
        (lambda: build(Case(model="mlp")), 4, "layout tp 4: hidden is 10 wide, which does not divide"),
        (small_mixtral, 2, "a MixtralForCausalLM is to be divided in a way that is not known, packed_colwise; use tp 1"),
        (small_gpt2, 2, "layout tp 2: no way is known to divide a GPT2LMHeadModel; use tp 1 and fsdp"),
    ],
)  # fmt: skip
def test_a_division_that_does_not_fit_the_model_is_refused(model, degree, words):
    with pytest.raises(UserError, match=words):
        check_tensor(model(), degree)


def test_a_batch_that_is_not_the_plan_s_is_refused():
    inputs, targets = batches(Case())[0]
    with pytest.raises(UserError, match="a step has 7 samples, and the plan 8; give the site's batch"):
        parallel_model(0, Case()).train_step((inputs[:7], targets[:7]))
    assert len(inputs) == BATCH


def test_a_layout_for_more_workers_than_were_started_is_refused():
    words = "layout fsdp 4 needs 4 workers, and 1 were started; use torchrun --nproc-per-node 4"
    with pytest.raises(UserError, match=words), join_world(1, 0, Layout(shards=4)):
        raise AssertionError


def test_a_worker_without_a_gpu_of_its_own_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="worker 1 of this machine has no GPU, there are 1"), join_world(1, 0):
        raise AssertionError
