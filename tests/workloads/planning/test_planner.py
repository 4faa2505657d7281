"""From facts to choices: what a recipe leaves open follows from sites and link, and what it gives is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.planning import plan_run
from workloads.planning.outer import outer_settings, plan_rounds
from workloads.spec.errors import UserError
from workloads.spec.facts import Accelerator, SiteFacts
from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Layout, Plan
from workloads.spec.recipe import Recipe, load_recipe, recipe_names

GIB = 1 << 30
LINK = LinkFacts(rate_mbps=98.4, rtt_ms=30.2)
MEASURED = {"flops": 9e10, "bf16_flops": 2e11, "copy_bytes_s": 2.5e10, "operation_s": 8e-6}
LENGTHS = {"language": {"train.steps_per_epoch": 300, "train.inner.batch": 8}}  # of the tests, whatever the recipe's
LLAMA_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


def cpu_site(name: str, **changes: Any) -> SiteFacts:
    return SiteFacts(**{"name": name, "workers": 1, "memory_bytes": 8 * GIB, **MEASURED, **changes})


def gpu_site(name: str, kind: str, memory: int, workers: int) -> SiteFacts:
    card = Accelerator(kind=kind, memory_bytes=memory * GIB)
    return SiteFacts(name=name, workers=workers, memory_bytes=200 * GIB, accelerator=card)


def large(**overrides: Any) -> Recipe:
    shape = {f"model.config.{key}": value for key, value in LLAMA_7B.items()}
    settings = {"data.context": 2048, "train.inner.precision": "auto", "train.steps_per_epoch": 5000}
    return load_recipe("language", {**shape, **settings, "train.inner.batch": 64, **overrides})


def plan(recipe: str | Recipe, *sites: SiteFacts, link: LinkFacts = LINK, **overrides: Any) -> Plan:
    chosen = load_recipe(recipe, {**LENGTHS.get(recipe, {}), **overrides}) if isinstance(recipe, str) else recipe
    return plan_run(chosen, sites or (cpu_site("a-1"), cpu_site("b-1")), link)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_planned_on_two_small_sites_with_a_reason_for_each_choice(name):
    made = plan(name)
    assert made.prediction is not None
    assert made.steps == load_recipe(name, LENGTHS.get(name)).train.steps
    wanted = {"layout", "batch", "micro_batch", "precision", "steps", "bits", "overlap_steps", "fragments", "outer"}
    assert wanted <= made.reasons.keys()
    assert all(made.reasons.values())


def test_iris_is_merged_as_its_recipe_says_and_nothing_overlaps():
    made = plan("iris")
    assert {(part.steps, part.lr, part.momentum) for part in made.rounds} == {(10, 1.0, 0.0)}
    assert (len(made.rounds), made.bits, made.overlap_steps, made.fragments) == (60, 8, 0, 1)


def test_what_the_recipe_gives_is_kept():
    given_ = {
        "train.inner.steps": 7,
        "train.inner.micro_batch": 2,
        "train.outer.bits": 32,
        "train.outer.overlap_steps": 3,
        "train.outer.fragments": 4,
        "train.outer.lr": 0.5,
        "train.outer.momentum": 0.25,
        "train.inner.activation_checkpointing": True,
    }
    made = plan("language", **given_)
    assert (made.rounds[0].steps, made.bits, made.overlap_steps, made.fragments) == (7, 32, 3, 4)
    assert (made.rounds[0].lr, made.rounds[0].momentum) == (0.5, 0.25)
    assert made.activation_checkpointing
    assert {site.micro_batch for site in made.sites.values()} == {2}


def test_a_slower_link_means_fewer_bits_and_rarer_merges_and_is_never_busy_for_much_more_than_half_of_the_time():
    plans = [plan("language", link=LinkFacts(rate_mbps=rate, rtt_ms=30)) for rate in (1000, 100, 10, 2, 1, 0.5)]
    bits = [made.bits for made in plans]
    steps = [made.rounds[0].steps for made in plans]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] == 8
    assert bits[-1] == 2
    assert steps == sorted(steps)
    assert all(made.prediction.link_use <= 0.55 for made in plans)


def test_overlap_covers_what_the_frames_need():
    near, far = (plan("language", link=LinkFacts(rate_mbps=20, rtt_ms=rtt)) for rtt in (1, 2000))
    for made, rtt_s in ((near, 0.001), (far, 2.0)):
        step_s = max(site.step_s for site in made.sites.values())
        needed = made.prediction.round_bytes / made.fragments * 8 / 20e6 + rtt_s
        assert made.overlap_steps * step_s >= needed
    assert far.overlap_steps > near.overlap_steps


def test_a_round_that_takes_long_travels_in_fragments():
    quick = plan("language", link=LinkFacts(rate_mbps=100, rtt_ms=30))
    slow = plan("language", link=LinkFacts(rate_mbps=1, rtt_ms=30))
    assert quick.fragments == 1
    assert slow.fragments > 1


def test_a_large_model_travels_in_fragments_whatever_the_link_so_that_little_of_it_is_kept_twice():
    small, large = (
        plan("language", link=LinkFacts(rate_mbps=100_000, rtt_ms=0.1), **{"model.config.vocab_size": size})
        for size in (4_096, 400_000)
    )
    assert small.fragments == 1
    assert large.fragments == 8
    assert "memory" in large.reasons["fragments"]


def test_a_link_that_cannot_keep_up_still_has_a_plan_that_says_how_long_it_takes():
    made = plan("language", link=LinkFacts(rate_mbps=0.1, rtt_ms=30))
    assert len(made.rounds) == 4
    assert made.prediction.total_s > plan("language").prediction.total_s
    assert "at least 4 merges" in made.reasons["steps"]


def test_a_site_of_twice_the_speed_takes_twice_the_samples():
    made = plan("language", cpu_site("a-1", flops=1.2e11), cpu_site("b-1", flops=6e10), **{"train.inner.batch": 12})
    assert {name: site.batch for name, site in made.sites.items()} == {"a-1": 16, "b-1": 8}


def test_noise_in_what_was_measured_changes_no_choice():
    steady = plan("language")
    for noise in (0.95, 1.05):
        sites = cpu_site("a-1", flops=9e10 * noise), cpu_site("b-1", operation_s=8e-6 * noise)
        other = plan("language", *sites, link=LinkFacts(rate_mbps=98.4 * noise, rtt_ms=30.2 / noise))
        unpredicted = {"prediction": None, "reasons": {}}
        chosen = [
            made.model_copy(
                update={
                    **unpredicted,
                    "sites": {
                        name: site.model_copy(update={"step_s": None, "memory_bytes": None})
                        for name, site in made.sites.items()
                    },
                }
            )
            for made in (steady, other)
        ]
        assert chosen[0] == chosen[1]


def test_a_model_that_fits_each_worker_is_replicated():
    made = plan("language", cpu_site("a-1", workers=4), cpu_site("b-1", workers=2))
    assert {name: site.layout for name, site in made.sites.items()} == {
        "a-1": Layout(replicas=4),
        "b-1": Layout(replicas=2),
    }


def test_a_model_too_large_for_a_worker_is_split_alike_at_all_sites():
    made = plan(large(), gpu_site("a-1", "h100-sxm", 80, 8), gpu_site("b-1", "a100-sxm", 80, 8))
    assert made.precision == "bf16"
    assert made.shards > 1
    for name, limit in (("a-1", 80), ("b-1", 80)):
        assert made.sites[name].memory_bytes <= limit * GIB
    assert made.sites["a-1"].batch > 2 * made.sites["b-1"].batch
    assert sum(site.batch for site in made.sites.values()) == 128


def test_an_impossible_request_is_refused_with_what_would_make_it_possible():
    recipe = large(**{"train.inner.precision": "fp32", "train.inner.activation_checkpointing": False})
    with pytest.raises(UserError) as refused:
        plan(recipe, gpu_site("a-1", "a10g", 24, 4), gpu_site("b-1", "a10g", 24, 4))
    text = str(refused.value)
    assert "\n" not in text
    assert "GiB a worker, has 24.0 GiB" in text
    (more,) = [int(word) for word in text.split() if word.isdigit()][:1]
    grown = [gpu_site(name, "a10g", 24, 4 + more) for name in ("a-1", "b-1")]
    assert plan(recipe, *grown).sites["a-1"].layout.ranks == 4 + more


def test_the_remedies_of_a_refusal_work():
    fixed = {"train.inner.micro_batch": 8, "train.inner.activation_checkpointing": False}
    tight = [cpu_site(name, memory_bytes=800 << 20) for name in ("a-1", "b-1")]
    with pytest.raises(UserError) as refused:
        plan("language", *tight, **fixed)
    assert "set train.inner.activation_checkpointing: true" in str(refused.value)
    assert "leave train.inner.micro_batch to the planner" in str(refused.value)
    assert plan("language", *tight, **{**fixed, "train.inner.activation_checkpointing": True}).activation_checkpointing
    assert plan("language", *tight, **{**fixed, "train.inner.micro_batch": "auto"}).sites["a-1"].micro_batch < 8


def test_less_memory_means_smaller_micro_batches():
    roomy = plan("language", **{"train.inner.batch": 64})
    tight = plan(
        "language", cpu_site("a-1", memory_bytes=GIB), cpu_site("b-1", memory_bytes=GIB), **{"train.inner.batch": 64}
    )
    assert tight.sites["a-1"].micro_batch < roomy.sites["a-1"].micro_batch
    assert tight.sites["a-1"].memory_bytes <= 0.9 * GIB


def test_a_layout_that_does_not_fit_the_workers_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"site a-1 has 1 workers and train.layout \(dp 2\) needs 2"):
        plan("language", **{"train.layout": {"replicas": 2}})


def test_a_batch_that_does_not_divide_is_refused_with_the_next_that_does():
    with pytest.raises(UserError, match=r"train.inner.batch 8 .* multiple of 7, such as 14"):
        plan("language", cpu_site("a-1", workers=7), cpu_site("b-1", workers=7))


def test_a_pipeline_gets_as_many_micro_batches_as_stages():
    layout = {"train.layout": {"pipeline": 4}}
    made = plan("language", cpu_site("a-1", workers=4), cpu_site("b-1", workers=4), **layout)
    assert all(site.batch // site.micro_batch >= 4 for site in made.sites.values())
    with pytest.raises(UserError, match=r"a pipeline of 4 stages .* train.inner.batch of at least 4"):
        plan("language", cpu_site("a-1", workers=4), **layout, **{"train.inner.batch": 2})


def test_an_accelerator_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(UserError, match=r"accelerator 'm60' is not one of a100-pcie, .*v100"):
        plan("language", gpu_site("a-1", "m60", 8, 1))


def test_bf16_is_not_asked_of_a_card_without_it():
    sites = gpu_site("a-1", "v100", 16, 1), gpu_site("b-1", "h100", 80, 1)
    assert plan("language", *sites, **{"train.inner.precision": "auto"}).precision == "fp32"
    with pytest.raises(UserError, match="a v100 has no bfloat16"):
        plan("language", *sites, **{"train.inner.precision": "bf16"})


def test_sites_of_unknown_speed_get_a_plan_without_predictions():
    made = plan("language", SiteFacts(name="a-1", workers=1, memory_bytes=8 * GIB))
    assert made.prediction is None
    assert made.sites["a-1"].step_s is None
    assert "nothing is known of the speed of a-1" in made.reasons["prediction"]


def test_a_model_of_unknown_size_needs_every_choice_by_hand():
    by_hand = {
        "train.layout": {"replicas": 1},
        "train.inner.micro_batch": 4,
        "train.inner.steps": 10,
        "train.outer": {"bits": 4, "overlap_steps": 2, "fragments": 1},
        "model.config.model_type": "mamba",
    }
    made = plan("language", **by_hand)
    assert (made.rounds[0].steps, made.bits, made.overlap_steps) == (10, 4, 2)
    assert made.prediction is None
    with pytest.raises(UserError, match="'mamba' is not known"):
        plan("language", **{**by_hand, "train.inner.micro_batch": "auto"})


@given(
    rate=st.floats(0.1, 1e5),
    rtt=st.floats(0, 2000),
    flops=st.floats(1e9, 1e14),
    workers=st.sampled_from([1, 2, 4, 8]),
)
def test_whatever_the_facts_a_plan_is_one_that_the_trainer_can_obey(rate, rtt, flops, workers):
    sites = [cpu_site("a-1", flops=flops, workers=workers), cpu_site("b-1", flops=2 * flops, workers=workers)]
    made = plan("language", *sites, link=LinkFacts(rate_mbps=rate, rtt_ms=rtt))  # the schema refuses what cannot be
    assert made.steps == 300
    assert sum(site.batch for site in made.sites.values()) == 16
    assert made == plan("language", *sites, link=LinkFacts(rate_mbps=rate, rtt_ms=rtt))


def test_outer_momentum_is_for_runs_with_time_to_pay_for_it():
    assert outer_settings(5).momentum == 0
    assert outer_settings(200).momentum > 0


def test_the_last_round_takes_what_is_left():
    assert [part.steps for part in plan_rounds(load_recipe("language", LENGTHS["language"]), 80)] == [80, 80, 80, 60]
