"""The platform itself breaks none of the rules, in any of its stacks."""

import pytest

from infra.policy.rule import Resource, Rule, Secret, defaults
from infra.policy.rules import RULES, settings_of_rules
from tests.kit.cloud import cloud_settings, whole
from tests.kit.recording import Declared

STACKS = ["dev", "dr", "lab", "prod", "staging"]
# Prices of a whole stack are checked from its values; a declared one lacks what a provider computes.
CHECKED = [rule for rule in RULES if rule.name != "budget"]


def seen(declared: Declared, *, secrets: bool) -> Resource:
    """As the engine shows it to a rule: with its identity, and secrets opened unless the rule is about them."""
    hidden = declared.secrets if secrets else frozenset()
    props = {key: Secret(value) if key in hidden else value for key, value in declared.inputs.items()}
    return Resource(
        declared.type, declared.name, {"id": f"{declared.name}-id", **props}, declared.urn, declared.protect
    )


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("rule", CHECKED, ids=lambda rule: rule.name)
def test_the_platform_breaks_no_rule(stack, rule):
    config = {**defaults(rule), **settings_of_rules(cloud_settings(stack), stack).get(rule.name, {})}
    world = [
        seen(declared, secrets=isinstance(rule, Rule) and rule.sees_secrets) for declared in whole(stack).resources
    ]
    if isinstance(rule, Rule):
        assert [message for resource in world for message in rule.check(resource, config)] == []
    else:
        assert [finding.message for finding in rule.check(world, config)] == []
