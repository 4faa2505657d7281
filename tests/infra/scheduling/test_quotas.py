"""Quotas are what nodes can really give, less what serving holds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.scheduling.quotas import (
    CPU,
    EFA,
    GPU,
    MEMORY,
    all_nodes_stand,
    covered_resources,
    flavor_name,
    nominal_quotas,
    per_node,
    quantity,
    share,
    training_pools,
)
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings
from workloads.spec.errors import UserError


def serving(gpus: int = 0, replicas: int = 1):
    values = {"min": 0, "desired": replicas, "max": max(1, replicas)}
    changes = {"cloud.serving.gpus": gpus, "cloud.serving.replicas": values}
    return cloud_settings(**changes).of_cloud.serving


def test_a_node_gives_all_its_devices_and_most_of_its_cpu_and_memory():
    pool = fakes.pool(gpus=8, efa=4)
    given_out = per_node(pool)
    assert given_out[GPU] == 8
    assert given_out[EFA] == 4
    assert 0.9 * 8000 < given_out[CPU] < 8000
    assert 0.85 * 32 * 1024 < per_node(fakes.pool(gpus=8))[MEMORY] < 32 * 1024


def test_huge_pages_of_efa_are_out_of_a_node_s_memory():
    small = replace(fakes.pool(), memory_gib_per_node=128)
    lost = per_node(small)[MEMORY] - per_node(replace(small, efa_per_node=1))[MEMORY]
    assert lost == pytest.approx(0.88 * 10256, abs=1)
    asked = per_node(replace(small, efa_per_node=1))[MEMORY]
    kubelet = 255 + 11 * 234  # EKS's reservation for 234 pods, MiB
    assert asked + 10256 + kubelet < 0.97 * 128 * 1024, "a pod of that size and the huge pages do not fit one node"


def test_efa_is_counted_where_a_node_has_it():
    assert EFA not in covered_resources(fakes.pools())
    assert EFA in covered_resources([fakes.pool(efa=1), fakes.pool("os-1")])


def test_quotas_are_those_of_all_nodes():
    pools = [fakes.pool(nodes=3, gpus=2), fakes.pool("os-1", nodes=2, gpus=4)]
    quotas = nominal_quotas(pools, serving())
    assert quotas["aws-1-l4"][GPU] == 6
    assert quotas["os-1-l4"][GPU] == 8
    assert quotas["aws-1-l4"][CPU] == 3 * per_node(pools[0])[CPU]


def test_gpus_of_serving_are_kept_out_of_the_sums_at_each_site():
    pools = [fakes.pool(nodes=3, gpus=2), fakes.pool("os-1", nodes=2, gpus=4)]
    quotas = nominal_quotas(pools, serving(gpus=1, replicas=2))
    assert [quotas[flavor_name(pool)][GPU] for pool in pools] == [4, 6]


def test_serving_takes_gpus_that_no_training_run_gets_first():
    small = replace(fakes.pool(nodes=1, gpus=2), name="small")
    pools = [fakes.pool(nodes=4, gpus=2), small, fakes.pool("os-1", gpus=4)]
    quotas = nominal_quotas(pools, serving(gpus=1, replicas=3))
    assert quotas["aws-1-small"][GPU] == 0
    assert quotas["aws-1-l4"][GPU] == 7


def test_a_site_without_gpus_for_training_is_refused_with_value_limit_and_remedy():
    with pytest.raises(UserError) as caught:
        nominal_quotas(fakes.pools(), serving(gpus=1, replicas=1))
    text = str(caught.value)
    assert "site 'aws-1': serving holds 1 of 1 GPUs" in text
    assert "lower cloud.serving.replicas.desired" in text
    assert "\n" not in text


def test_a_training_run_gets_the_pool_with_most_gpu_memory():
    big = replace(fakes.pool(nodes=2, gpus=8), name="big")
    chosen = training_pools([fakes.pool(nodes=2), big, fakes.pool("os-1")])
    assert {site: pool.name for site, pool in chosen.items()} == {"aws-1": "big", "os-1": "l4"}


def test_a_pool_that_grows_on_demand_is_no_place_to_count_nodes_that_stand():
    assert not all_nodes_stand(cloud_settings())
    fixed = {"sites.0.aws.gpu_pools.0.nodes": {"min": 2, "desired": 2, "max": 2}}
    assert all_nodes_stand(cloud_settings(**fixed))


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_a_share_is_never_more_than_there_is(amount, fraction):
    assert 0 <= share(amount, fraction) <= amount


def test_quantities_are_in_kubernetes_units():
    assert [quantity(CPU, 1500), quantity(MEMORY, 2048), quantity(GPU, 8)] == ["1500m", "2048Mi", "8"]
