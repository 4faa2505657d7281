"""A plan's main figures, as a stack exports them. Pure."""

from collections.abc import Mapping
from typing import Any

from workloads.spec.plan import Plan


def plan_figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the outputs wants to know of the plan `values`, JSON values of a `Plan`."""
    plan = Plan.model_validate(values)
    sites = {
        name: {
            "layout": str(site.layout),
            **site.model_dump(include={"batch", "micro_batch", "step_s", "memory_bytes"}, exclude_none=True),
        }
        for name, site in plan.sites.items()
    }
    figures: dict[str, Any] = {
        "sites": sites,
        "rounds": len(plan.rounds),
        "steps_of_a_round": max(part.steps for part in plan.rounds),
        "overlap_steps": plan.overlap_steps,
        "bits": plan.bits,
        "fragments": plan.fragments,
        "precision": plan.precision,
    }
    return figures if plan.prediction is None else {**figures, "prediction": plan.prediction.model_dump()}
