"""Stack values: what fits is parsed once, what does not is refused with value, limit and remedy."""

import json
from typing import Any

import pytest

from infra.operations.stack_files import with_overrides
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
    clouds = [{"name": "aws-1", "kind": "aws"}, {"name": "os-1", "kind": "openstack"}]
    assert plugins_of(settings(sites=clouds)) == ("aws", "kubernetes", "openstack")


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
