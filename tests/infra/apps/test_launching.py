"""What the stack knows becomes the training configuration."""

from dataclasses import replace

import numpy as np
import pytest

from infra.apps.launching import Launching, plan_training, render_launch
from tests.infra.apps.program import trained
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings
from workloads.spec.delivery import Store
from workloads.spec.errors import UserError
from workloads.spec.facts import Accelerator
from workloads.spec.launch import LaunchSpec, LinkFacts
from workloads.spec.plan import Layout
from workloads.spec.recipe import Recipe, load_recipe

SITES = ("aws-1", "os-1")
LANGUAGE = load_recipe("language")
STORES = {site: f"s3://bucket-of-{site}" for site in SITES}
SPLIT_EIGHT = load_recipe("language", {"train.layout": {"shards": 8}, "train.inner.batch": 8})
SPLIT = load_recipe("language", {"train.layout": {"shards": 4}, "train.inner.batch": 8})


def launching(recipe: Recipe = LANGUAGE, pools=None, rate_mbps: float = 1000.0, **changes) -> Launching:
    link = LinkFacts(rate_mbps=rate_mbps, rtt_ms=20.0)
    return plan_training(recipe, SITES, pools or fakes.pools(), link, cloud_settings(**changes).of_cloud.serving)


def launch(run: Launching) -> LaunchSpec:
    return render_launch(run, STORES, Store(address=STORES["aws-1"], profile="aws-1"), "http://registry:5000")


def test_pools_and_link_become_facts_of_the_plan():
    pools = (fakes.pool("aws-1", nodes=2, gpus=4), fakes.pool("os-1", nodes=1, gpus=8))
    run = launching(SPLIT_EIGHT, pools)
    spec = launch(run)
    assert {site.name: site.workers for site in spec.sites} == {"aws-1": 8, "os-1": 8}
    assert (spec.link.rate_mbps, spec.link.rtt_ms) == (1000.0, 20.0)
    assert run.plan.prediction is not None
    assert run.parts["aws-1"].facts.accelerator == Accelerator(kind="l4", memory_bytes=24 << 30)


def test_a_site_s_part_is_the_pool_with_the_most_memory():
    small = fakes.pool("aws-1")
    large = replace(fakes.pool("aws-1", nodes=1, gpus=4), name="h100")
    run = launching(load_recipe("language", {"train.inner.batch": 4}), (small, large, fakes.pool("os-1", gpus=4)))
    assert run.parts["aws-1"].pool.name == "h100"


def test_every_peer_leads_to_where_the_other_site_listens():
    pools = (fakes.pool("aws-1", nodes=2, gpus=2), fakes.pool("os-1", nodes=1, gpus=4))
    run = launching(SPLIT, pools)
    spec = launch(run)
    for site in spec.sites:
        for peer, endpoints in site.peers.items():
            listening = spec.site(peer).listen
            assert [endpoint.port for endpoint in endpoints] == [endpoint.port for endpoint in listening]
            assert {endpoint.host for endpoint in listening} == {"0.0.0.0"}  # noqa: S104 - inside a pod
    to_aws = [endpoint.host for endpoint in spec.site("os-1").peers["aws-1"]]
    job = run.job
    assert to_aws == [f"{job}-aws-1-0-{node}.{job}" for node in (0, 0, 1, 1)]
    assert {endpoint.host for endpoint in spec.site("aws-1").peers["os-1"]} == {f"{job}-os-1-0-0.{job}"}


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(replicas=3),
        Layout(shards=4),
        Layout(replicas=2, shards=2, tensor=2),
        Layout(replicas=2, shards=3, tensor=2, pipeline=2),
    ],
    ids=str,
)
def test_the_owner_of_a_part_is_its_first_replica_on_the_trainer_s_mesh(layout):
    mesh = np.arange(layout.ranks).reshape(layout.pipeline, layout.replicas, layout.shards, layout.tensor)
    owners = mesh[:, 0].ravel().tolist()
    assert [layout.owner(part) for part in range(layout.parts)] == owners


def test_each_site_keeps_its_states_in_its_own_store_and_all_meet_in_one():
    spec = launch(launching())
    for site in spec.sites:
        assert site.checkpoints == f"s3://bucket-of-{site.name}/checkpoints/{spec.run_id}/{site.name}"
        assert site.data_digest is None
        assert site.metrics_host == "0.0.0.0"  # noqa: S104 - Prometheus asks from outside the pod
    assert spec.shared == Store(address="s3://bucket-of-aws-1", profile="aws-1")
    assert spec.tracking == "http://registry:5000"


def test_the_same_work_is_the_same_run_and_another_plan_is_another():
    assert launching().run_id == launching().run_id
    serving_only = load_recipe("language", {"serve.max_batch": 2, "compress.prune_ratios": [0.0]})
    assert launching(serving_only).run_id == launching().run_id
    assert launching(rate_mbps=2.0).plan.rounds != launching().plan.rounds
    assert launching(rate_mbps=2.0).run_id != launching().run_id
    more = (fakes.pool("aws-1", nodes=2), fakes.pool("os-1"))
    assert launching(pools=more).run_id != launching().run_id


def test_a_pool_without_accelerators_is_planned_as_cores():
    cpu = Accelerator(kind="cpu", memory_bytes=1 << 30)
    pools = tuple(replace(pool, accelerator=cpu) for pool in fakes.pools())
    run = launching(pools=pools)
    assert run.parts["os-1"].facts.accelerator is None
    assert run.plan.prediction is None
    assert launch(run).site("os-1").workers == 1


def test_trainers_leave_room_for_what_serves_beside_them():
    """The AWS site has nodes for that, the OpenStack site none but those with GPUs."""
    run = launching()
    assert run.parts["os-1"].trainer.millicores < run.parts["aws-1"].trainer.millicores
    more = launching(**{"cloud.serving.replicas": {"min": 1, "desired": 1, "max": 5}})
    assert more.parts["os-1"].trainer.memory_mib < run.parts["os-1"].trainer.memory_mib
    with pytest.raises(UserError, match=r"site 'os-1': 31 replicas on a node .* less than half; lower cloud\.serving"):
        launching(**{"cloud.serving.replicas": {"min": 1, "desired": 1, "max": 30}})


def test_a_site_without_gpus_is_refused():
    with pytest.raises(UserError, match=r"sites \['os-1'\] have no GPUs.*add os-1's gpu_pools or gpu_servers"):
        launching(pools=(fakes.pool("aws-1"),))


def test_serving_that_takes_every_whole_node_is_refused():
    changes = {"cloud.serving.gpus": 1, "cloud.serving.runtime": "vllm"}
    pools = (fakes.pool("aws-1", gpus=2), fakes.pool("os-1", gpus=2))
    with pytest.raises(UserError, match=r"site 'aws-1': serving leaves no whole node of pool l4"):
        launching(pools=pools, **changes)


def test_a_model_in_more_parts_than_policies_let_through_is_refused():
    pools = (fakes.pool("aws-1", nodes=16, gpus=8), fakes.pool("os-1", nodes=16, gpus=8))
    wide = load_recipe("language", {"train.layout": {"shards": 128}, "train.inner.batch": 128})
    with pytest.raises(UserError, match="in 128 parts, and network policies let 64 ports through"):
        launching(wide, pools)


def test_what_the_program_renders_is_what_the_trainer_parses():
    """One schema on both sides: a field that is renamed on one of them does not parse on the other."""
    program = trained()
    text = program.named("training-specs").inputs["data"]["launch.json"]
    spec = LaunchSpec.model_validate_json(text)
    assert spec.run_id == program.result.run_id
    assert spec.plan.model_dump(mode="json") == program.result.plan
    assert spec.site("os-1").checkpoints.startswith("s3://isthmus-dev-os-1/")
    renamed = text.replace('"rendezvous"', '"meeting_point"')
    with pytest.raises(ValueError, match="meeting_point"):
        LaunchSpec.model_validate_json(renamed)
