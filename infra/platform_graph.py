"""The wiring of the local platform: reads from top to bottom like its picture."""

from pathlib import Path
from typing import Any

import pulumi

from infra.local.kit import LocalKit
from infra.operations.diagram import draw
from infra.picture import picture
from infra.planned import plan_figures
from infra.providers import LocalProvider
from infra.scope import Platform
from infra.settings import Settings
from workloads.spec.facts import SiteFacts
from workloads.spec.recipe import load_recipe


def build(settings: Settings, root: Path, name: str) -> dict[str, Any]:
    """Declare the platform `name`, whose sites are all on this machine, and give what the stack exports.

    Raises:
        UserError: the recipe does not fit.
    """
    recipe = load_recipe(settings.training.recipe, settings.training.overrides)
    platform = Platform(name, {"isthmus": LocalProvider("local")})
    kit = LocalKit(settings, root, platform)

    trust = kit.authority()
    sites = {site.name: kit.site(site) for site in settings.sites}
    data = {site: kit.data(contract, recipe) for site, contract in sites.items()}
    link = kit.link(sites)
    registry = kit.registry()
    run = kit.train(recipe, sites, data, link, trust, registry)
    model = kit.compress(recipe, run, data)
    version = kit.register(recipe, run, model, registry, trust)
    service = kit.serve(recipe, model, version, sites, link, trust)
    exports: dict[str, Any] = {
        "endpoints": dict(service.endpoints),
        "registry": registry.url,
        "model": {
            "name": recipe.name,
            "recipe": settings.training.recipe,
            "version": version.version,
            "page": version.page,
        },
        "run": {"id": run.run_id, "metrics": run.metrics, "samples": run.samples},
        "sites": {name: contract.facts.apply(_values) for name, contract in sites.items()},
        "plan": run.plan.apply(plan_figures),
        "link": {
            "rate_mbps": link.rate_mbps,
            "rtt_ms": link.rtt_ms,
            "bytes": run.link_bytes,
            "bytes_of_ddp": run.ddp_link_bytes,
            "outage_switch": link.switch,
        },
        "compression": {"metric": recipe.compress.gate.metric, "before": model.before, "after": model.after},
    }
    drawing = pulumi.Output.from_input(exports).apply(lambda known: draw(picture(settings, recipe, known)))
    platform.register_outputs({})
    return {**exports, "report": kit.report(run, model, version, drawing)}


def _values(facts: SiteFacts) -> dict[str, Any]:
    return facts.model_dump(mode="json")
