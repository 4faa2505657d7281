"""The wiring of the platform: reads from top to bottom like its picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi

from infra.contracts import PlatformKit
from infra.local.kit import LocalKit
from infra.operations.diagram import draw
from infra.picture import picture
from infra.planned import plan_figures
from infra.providers import LocalProvider
from infra.settings import Settings
from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.recipe import load_recipe


class Platform(pulumi.ComponentResource):
    """The root of everything. Providers come down from here."""

    def __init__(self, name: str, providers: dict[str, pulumi.ProviderResource]) -> None:
        super().__init__("isthmus:platform:Platform", name, None, pulumi.ResourceOptions(providers=providers))


def _local(settings: Settings, root: Path, name: str) -> tuple[Platform, PlatformKit]:
    platform = Platform(name, {"isthmus": LocalProvider("local")})
    return platform, LocalKit(settings, root, platform)


_KITS: dict[str, Callable[[Settings, Path, str], tuple[Platform, PlatformKit]]] = {"local": _local}


def build(settings: Settings, root: Path, name: str) -> dict[str, Any]:
    """Declare the platform `name` and give what the stack exports.

    Raises:
        UserError: the recipe does not fit, or no kit builds the sites' kind.
    """
    recipe = load_recipe(settings.training.recipe, settings.training.overrides)
    platform, kit = _KITS[_kind(settings)](settings, root, name)

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


def _kind(settings: Settings) -> str:
    kinds = {site.kind for site in settings.sites}
    unbuilt = sorted(kinds - _KITS.keys())
    if unbuilt or len(kinds) != 1:
        raise UserError(
            f"sites of kinds {sorted(kinds)} cannot be built together; this version builds stacks whose sites are all "
            f"{' or all '.join(_KITS)}"
        )
    return kinds.pop()
