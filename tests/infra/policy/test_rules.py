"""Each rule accepts what it should, and refuses the rest in one line with the value, the limit and the remedy."""

from collections.abc import Sequence

import pytest

from infra.policy.rule import Resource, Rule, StackRule, defaults
from infra.policy.rules import RULES, settings_of_rules
from infra.settings import ROOT
from tests.infra.policy.accepted import ACCEPTED
from tests.infra.policy.refused import REFUSED, SETTINGS
from tests.infra.policy.worlds import of
from tests.kit.cloud import cloud_settings

BY_NAME = {rule.name: rule for rule in RULES}


def violations(rule: Rule | StackRule, world: Sequence[Resource], **settings: object) -> list[str]:
    config = {**defaults(rule), **SETTINGS.get(rule.name, {}), **settings}
    if isinstance(rule, StackRule):
        return [finding.message for finding in rule.check(world, config)]
    return [message for resource in world for message in rule.check(resource, config)]


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, worlds in ACCEPTED.items() for number in range(len(worlds))]
)
def test_a_rule_accepts(name, number):
    assert violations(BY_NAME[name], ACCEPTED[name][number]) == []


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, worlds in REFUSED.items() for number in range(len(worlds))]
)
def test_a_rule_refuses_in_one_line_with_a_remedy(name, number):
    world, words = REFUSED[name][number]
    found = violations(BY_NAME[name], world)
    assert any(words in message for message in found), found
    for message in found:
        assert "\n" not in message
        assert ";" in message or ":" in message


def test_every_rule_has_a_world_that_it_accepts_and_one_that_it_refuses():
    assert set(ACCEPTED) == set(REFUSED) == set(BY_NAME)


def test_the_docs_have_every_rule_as_it_is():
    text = (ROOT / "docs" / "POLICY.md").read_text(encoding="utf-8")
    rows = [
        tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines() if line.startswith("| `")
    ]
    assert rows == [(f"`{rule.name}`", rule.scope, rule.says) for rule in RULES]


def test_what_is_precious_may_be_deleted_where_the_stack_says_so():
    assert violations(BY_NAME["protected"], [of("aws:s3/bucket:Bucket")], protect=False) == []


def test_without_a_budget_nothing_is_too_dear():
    world, _ = REFUSED["budget"][0]
    assert violations(BY_NAME["budget"], world, monthly_usd=0) == []


def test_a_stack_tells_the_pack_its_protection_its_budget_and_its_tags():
    chosen = settings_of_rules(cloud_settings(**{"cloud.protect": True, "cloud.monthly_budget_usd": 777}), "dev")
    assert chosen["protected"] == {"protect": True}
    assert chosen["budget"]["monthly_usd"] == 777
    assert chosen["budget"]["flavors"]["g1.l4"] == {"hybrid_vcpus": 8}
    assert chosen["required-tags"]["values"]["owner"] == "ml-platform"
    assert set(chosen) <= set(BY_NAME)
