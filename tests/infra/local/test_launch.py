"""Launch specs: values in, values out."""

from pathlib import Path

import pytest

from infra.local import launch
from infra.local.ports import PortPlan
from infra.settings import LinkSettings, SiteSettings
from infra.topology import Topology
from workloads.planning import plan_run
from workloads.planning.size import parameter_count
from workloads.planning.speed import CARDS
from workloads.spec.base import Credentials
from workloads.spec.errors import UserError
from workloads.spec.facts import Accelerator, SiteFacts
from workloads.spec.launch import LaunchSpec, LinkFacts
from workloads.spec.recipe import Recipe, load_recipe

IRIS, LANGUAGE = load_recipe("iris"), load_recipe("language")
SITES = tuple(SiteSettings(name=name, kind="local") for name in ("a-1", "b-1", "c-1"))


def test_a_run_is_the_same_run_however_it_is_compressed_or_served():
    data = {"a-1": "d" * 64}
    same = load_recipe("iris", {"compress.gate.bound": 0.9, "serve.max_batch": 4})
    other = load_recipe("iris", {"train.inner.lr": 0.5})
    first = launch.training_identity(IRIS, data, {"a-1": 1})
    assert first == launch.training_identity(same, data, {"a-1": 1})
    assert first != launch.training_identity(other, data, {"a-1": 1})
    assert first != launch.training_identity(IRIS, {"a-1": "e" * 64}, {"a-1": 1})
    assert first != launch.training_identity(IRIS, data, {"a-1": 2})


def test_parts_of_a_digest_cannot_be_mistaken_for_one_another():
    assert launch.digest_of("ab", "c") != launch.digest_of("a", "bc")


def test_a_slow_link_gets_a_longer_deadline():
    fast, slow = LinkFacts(rate_mbps=1000, rtt_ms=1), LinkFacts(rate_mbps=10, rtt_ms=200)
    payload = parameter_count(LANGUAGE)
    assert launch.round_deadline_s(payload, fast) == 5.0
    assert launch.round_deadline_s(payload, slow) == pytest.approx(10 * (payload * 8 / 10e6 + 0.2), abs=0.1)


def test_three_sites_get_a_channel_in_each_direction_for_each_use():
    links = tuple(
        LinkSettings(between=pair, rate="50 Mbit/s", rtt_ms=10)
        for pair in (("a-1", "b-1"), ("a-1", "c-1"), ("b-1", "c-1"))
    )
    spec = launch.render_relay(Topology(SITES, links), PortPlan(20000, 3, parts=2))
    uses = [(channel.source, channel.destination, channel.target.port) for channel in spec.channels]
    assert len(set(uses)) == len(uses) == 3 * 2 * (2 + 1)
    assert len({channel.listen for channel in spec.channels}) == len(uses)


def render(recipe: Recipe, facts: tuple[SiteFacts, ...]) -> LaunchSpec:
    link = LinkFacts(rate_mbps=100, rtt_ms=30)
    identity = Credentials(ca=Path("ca"), certificate=Path("certificate"), key=Path("key"))
    return launch.render_launch(
        recipe,
        "run-1",
        plan_run(recipe, facts, link),
        tuple(launch.LaunchSite(fact, Path("data") / fact.name, "d" * 64) for fact in facts),
        link,
        PortPlan(20000, len(facts), parts=2),
        {fact.name: identity for fact in facts},
        "http://127.0.0.1:20010",
        Path("stack"),
    )


def test_a_launch_says_what_the_workers_of_each_site_can_do_at_most():
    core = SiteFacts(name="a-1", workers=2, threads=3, memory_bytes=8 << 30, flops=5e10, peak_flops=8e10)
    card = Accelerator(kind="a10g", memory_bytes=24 << 30)
    sites = render(LANGUAGE, (core, SiteFacts(name="b-1", workers=2, memory_bytes=8 << 30, accelerator=card))).sites
    assert [site.peak_flops for site in sites] == [8e10, CARDS["a10g"].fp32]
    assert [(site.name, site.threads, site.workers) for site in sites] == [("a-1", 3, 2), ("b-1", 1, 2)]
    half = render(
        load_recipe("language", {"train.inner.precision": "auto"}), (core.model_copy(update={"accelerator": card}),)
    )
    assert half.sites[0].peak_flops == CARDS["a10g"].bf16


def test_local_links_that_differ_are_refused():
    links = tuple(
        LinkSettings(between=("a-1", other), rate=rate, rtt_ms=10)
        for other, rate in (("b-1", "1 Gbit/s"), ("c-1", "1 Mbit/s"))
    )
    with pytest.raises(UserError, match="links must be alike"):
        launch.render_relay(Topology(SITES, links), PortPlan(20000, 3))
