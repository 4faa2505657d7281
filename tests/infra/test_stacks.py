"""Stack files hold values, fit together, and keep no secret."""

import re
from ipaddress import ip_address, ip_network
from itertools import combinations
from urllib.parse import urlsplit

import pytest

from infra.addressing import address_plan
from infra.operations.cost import estimate
from infra.operations.stack_files import settings_of, tracked
from infra.policy.kubernetes import DIGEST
from infra.settings import stack_config
from workloads.spec.recipe import load_recipe

CLOUDS = ["dev", "staging", "prod", "dr", "lab"]


def of(stack):
    return settings_of(stack_config(tracked(stack)), stack)


def supernets(stack):
    settings = of(stack)
    return [settings.aws_site[1].supernet, settings.openstack_site[1].supernet]


@pytest.mark.parametrize("stack", CLOUDS)
def test_it_parses_and_its_addresses_recipe_and_budget_fit(stack):
    settings = of(stack)
    assert address_plan(settings).services == settings.of_cloud.services
    load_recipe(settings.training.recipe, settings.training.overrides)
    found = estimate(settings)
    assert found.unpriced == ()
    assert found.high <= settings.of_cloud.monthly_budget_usd


def test_no_two_stacks_share_an_address_or_an_as_number():
    for one, other in combinations(CLOUDS, 2):
        for mine in supernets(one):
            assert not any(mine.overlaps(theirs) for theirs in supernets(other)), (one, other)
    numbers = [number for stack in CLOUDS for number in (of(stack).aws_site[1].asn, of(stack).openstack_site[1].asn)]
    assert len(numbers) == len(set(numbers))


def test_the_recovery_keeps_clear_of_the_primary_and_the_primary_of_it():
    assert set(of("dr").of_cloud.recovery.beside) == set(supernets("prod"))
    assert set(of("prod").of_cloud.recovery.beside) == set(supernets("dr"))


def test_the_recovery_is_the_same_platform_in_another_region_and_project():
    prod, dr = of("prod"), of("dr")
    assert dr.aws_site[1].region == prod.of_cloud.storage.replica_region
    assert dr.openstack_site[1].cloud != prod.openstack_site[1].cloud
    assert dr.openstack_site[1].object_store.endpoint != prod.openstack_site[1].object_store.endpoint
    assert [site.name for site in dr.sites] == [site.name for site in prod.sites]
    assert dr.training == prod.training
    assert dr.of_cloud.serving.host == prod.of_cloud.serving.host


def test_the_recovery_names_nothing_of_the_lost_region():
    text = tracked("dr").read_text(encoding="utf-8")
    prod = of("prod")
    assert prod.aws_site[1].region not in text
    assert f"cloud: {prod.openstack_site[1].cloud}\n" not in text
    assert prod.openstack_site[1].object_store.endpoint not in text


def test_the_recovery_starts_from_the_bucket_that_the_primary_replicates_to():
    assert re.fullmatch(r"isthmus-prod-aws-1-replica-\d{12}", of("dr").of_cloud.storage.restore_from)


@pytest.mark.parametrize("stack", ["prod", "dr"])
def test_production_is_protected_by_zone_with_tokens_and_interconnect(stack):
    settings = of(stack)
    values = settings.aws_site[1]
    assert settings.of_cloud.protect
    assert settings.of_cloud.serving.access is not None
    assert settings.of_cloud.serving.replicas.min >= 2
    assert (values.nat, values.zones) == ("zone", 3)
    assert [pool.instance_type for pool in values.gpu_pools if pool.efa and pool.placement_group] == ["p5.48xlarge"]
    assert settings.of_cloud.cluster.public_access == ()


def test_production_trains_on_a_capacity_block():
    assert [pool.capacity for pool in of("prod").aws_site[1].gpu_pools] == ["capacity-block", "on-demand"]


def test_the_lab_stays_on_this_machine_and_pulls_and_builds_nothing():
    settings = of("lab")
    values, cloud = settings.aws_site[1], settings.of_cloud
    services, stores = dict(values.endpoints), [settings.openstack_site[1].object_store.endpoint]
    stores.append(services.pop("s3"))
    assert all(re.match(r"http://127\.0\.0\.1:\d+", endpoint) for endpoint in services.values())
    # pods reach stores too: each is in its site's own network, which the lab makes
    supernets = [settings.openstack_site[1].supernet, values.supernet]
    for store, supernet in zip(stores, supernets, strict=True):
        assert ip_address(urlsplit(store).hostname) in ip_network(str(supernet))
    assert cloud.images.to_build == ()
    assert cloud.images.pull == "Never"
    assert cloud.images.postgres.startswith("localhost/")
    assert cloud.cluster.kubeconfig == ".state/lab/kubeconfig"
    assert cloud.storage.erasable
    assert not cloud.protect


@pytest.mark.parametrize("stack", CLOUDS)
def test_images_that_are_pulled_are_named_by_digest(stack):
    given = of(stack).of_cloud.images
    named = [given.trainer, given.inference, given.registry, given.vllm, given.postgres]
    assert given.pull == "Never" or all(DIGEST.search(image) for image in named if image)


@pytest.mark.parametrize("stack", [*CLOUDS, "local"])
def test_no_secret_is_in_plain_text(stack):
    text = tracked(stack).read_text(encoding="utf-8")
    assert not re.search(r"password|secret_key|access_key|token:|psk|PRIVATE KEY|AKIA[0-9A-Z]{16}", text, re.IGNORECASE)
