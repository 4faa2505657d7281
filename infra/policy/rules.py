"""All rules, and what a stack's values make of their settings."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from infra.naming import Naming
from infra.operations.cost_of_resources import flavors_of
from infra.policy import access, compute, cost, kubernetes, network, storage
from infra.policy.rule import Rule, StackRule
from infra.settings import PROJECT, Settings

RULES: Final[tuple[Rule | StackRule, ...]] = (
    *storage.RULES,
    *network.RULES,
    *access.RULES,
    *compute.RULES,
    *kubernetes.RULES,
    *cost.RULES,
)


def settings_of_rules(settings: Settings, stack: str) -> Mapping[str, dict[str, Any]]:
    """The rules' settings for a stack, by rule: the file that `--policy-pack-config` wants. Empty for a local stack."""
    cloud = settings.cloud
    if cloud is None:
        return {}
    tags = Naming(PROJECT, stack, cloud.owner, cloud.cost_center).tags()
    flavors = {
        name: {key: value for key, value in asdict(flavor).items() if value is not None}
        for name, flavor in flavors_of(settings).items()
    }
    return {
        "required-tags": {"values": tags},
        "protected": {"protect": cloud.protect},
        "budget": {"monthly_usd": cloud.monthly_budget_usd, "flavors": flavors},
    }
