"""The rule on money."""

from collections.abc import Sequence
from typing import Final

from infra.operations.cost_of_resources import Flavor, estimate_resources
from infra.operations.prices import load_prices
from infra.policy.rule import Config, Finding, Resource, StackRule


def budget(resources: Sequence[Resource], config: Config) -> list[Finding]:
    """What the stack would cost in a month fits what its owner said."""
    limit = config["monthly_usd"]
    if not limit:
        return []
    flavors = {name: Flavor(**values) for name, values in config["flavors"].items()}
    priced = [(resource.type, resource.props) for resource in resources]
    estimate = estimate_resources(priced, load_prices(), flavors)
    if estimate.high <= limit:
        return []
    dearest = max(estimate.lines, key=lambda line: line.high)
    return [
        Finding(
            f"the stack would cost up to {estimate.high:,.0f} USD a month, limit {limit:,.0f}; the most of it is "
            f"{dearest.item} ({dearest.high:,.0f}): make it smaller, or raise cloud.monthly_budget_usd"
        )
    ]


RULES: Final = (
    StackRule(
        "budget",
        "The stack costs no more a month than its `monthly_budget_usd`, by the price table.",
        budget,
        {"monthly_usd": {"type": "number", "default": 0}, "flavors": {"type": "object", "default": {}}},
    ),
)
