"""Stack values: what fits is parsed once, what does not is refused with value, limit and remedy."""

import json
from typing import Any

import pytest

from infra.operations.stack_files import settings_of, with_overrides
from infra.providers import plugins_of
from infra.settings import Settings
from tests.kit.program import stack_config, stack_files
from workloads.spec.errors import UserError
from workloads.spec.recipe import load_recipe, recipe_names


def settings(**changes: Any) -> Settings:
    config = stack_config("local") | {f"isthmus:{key}": value for key, value in changes.items()}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    return Settings.from_engine(texts, "local")


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        settings(**changes)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("path", stack_files(), ids=lambda path: path.name)
def test_every_stack_file_parses(path):
    config = stack_config(path.name.split(".")[1])
    assert Settings.from_engine({k: json.dumps(v) for k, v in config.items()}, path.name).sites


def test_bandwidth_is_read_in_its_unit():
    link = {"between": ["aws-1", "os-1"], "rtt_ms": 5}
    assert settings(links=[{**link, "rate": "1.25 Gbit/s"}]).links[0].rate == 1250
    assert settings(links=[{**link, "rate": "800 kbit/s"}]).links[0].rate == pytest.approx(0.8)


@pytest.mark.parametrize("rate", ["0 Mbit/s", "0.01 Mbit/s", "200 Gbit/s"])
def test_a_rate_out_of_range_is_refused_with_the_range(rate):
    text = refusal(links=[{"between": ["aws-1", "os-1"], "rate": rate, "rtt_ms": 30}])
    assert "0.1 Mbit/s to 100 Gbit/s" in text
    assert rate.split(".")[0] in text


def test_a_rate_without_unit_is_refused_with_an_example():
    assert "100 Mbit/s" in refusal(links=[{"between": ["aws-1", "os-1"], "rate": 100, "rtt_ms": 30}])


def test_an_unknown_key_is_named():
    assert "colour" in refusal(colour="blue")
    assert "gpus" in refusal(sites=[{"name": "aws-1", "kind": "local", "gpus": 8}])


def test_a_link_to_nowhere_and_a_missing_link_are_refused():
    assert "mars" in refusal(links=[{"between": ["aws-1", "mars"], "rate": "1 Gbit/s", "rtt_ms": 30}])
    assert "aws-1 - os-1" in refusal(links=[])


def test_cloud_plugins_are_needed_by_cloud_sites_alone():
    assert plugins_of(settings()) == ()
    # dev gives no images, so it builds them
    assert plugins_of(settings_of(stack_config("dev"), "dev")) == ("aws", "docker-build", "kubernetes", "openstack")


def test_repeated_site_names_are_refused():
    site = {"name": "aws-1", "kind": "local"}
    assert "aws-1" in refusal(sites=[site, site], links=[])


def test_an_override_reaches_into_lists_and_mappings():
    config = with_overrides(stack_config("local"), ["links.0.rate=20 Mbit/s", "training.overrides.train.epochs=2"])
    assert config["isthmus:links"][0]["rate"] == "20 Mbit/s"
    assert config["isthmus:training"]["overrides"] == {"train": {"epochs": 2}}


@pytest.mark.parametrize("override", ["nonsense", "links.7.rate=1 Gbit/s", "=3", "training.recipe.x=1"])
def test_an_override_that_leads_nowhere_is_refused(override):
    with pytest.raises(UserError, match="setting"):
        with_overrides(stack_config("local"), [override])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_parses_and_its_digest_is_stable(name):
    assert load_recipe(name).digest() == load_recipe(name).digest()


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'irsi' is unknown; choose one of .*iris"):
        load_recipe("irsi")


def test_a_recipe_key_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="epocs"):
        load_recipe("iris", {"train.epocs": 3})
    with pytest.raises(UserError, match="trian"):
        load_recipe("iris", {"trian.epochs": 3})


def test_a_recipe_override_changes_its_digest():
    changed = load_recipe("iris", {"train.epochs": 3})
    assert changed.train.epochs == 3
    assert changed.digest() != load_recipe("iris").digest()


def cloud_refusal(path: str, value: Any) -> str:
    config = with_overrides(stack_config("dev"), [f"{path}={json.dumps(value)}"])
    with pytest.raises(UserError) as caught:
        settings_of(config, "dev")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sites.0.aws", None, "aws-1 is of kind aws and lacks values under aws; add them"),
        ("sites.0.openstack", "dev", "openstack"),
        ("sites.0.aws.supernet", "8.8.0.0/16", "8.8.0.0/16 is outside RFC 1918; pick a part of 10.0.0.0/8"),
        ("sites.0.aws.supernet", "10.0.0.1/16", "write an IPv4 network such as 10.0.0.0/16"),
        ("sites.0.aws.asn", 65535, "65535 is no private AS number; pick one of 64512-65534"),
        ("sites.0.aws.gpu_pools.0.nodes", {"min": 3, "max": 2}, "min 3, desired 1, max 2 are not in rising order"),
        ("sites.0.aws.gpu_pools.0.capacity", "reservation", "needs reservation; give its cr-… id"),
        ("sites.0.aws.gpu_pools.0.reservation", "cr-0123456789", "capacity spot has no reservation; leave it out"),
        ("sites.0.aws.gpu_pools.0.efa", True, "efa without placement_group is slow; set placement_group: true"),
        ("cloud", None, "need isthmus:cloud"),
        ("cloud.contact", "nobody", "contact"),
        ("cloud.cluster.installed", ["istoi"], "istoi"),
    ],
)
def test_values_of_a_cloud_stack_are_refused_with_limit_and_remedy(path, value, said):
    assert said in cloud_refusal(path, value)
