"""From a stack's settings and exports to the description that `infra.operations.diagram` draws. Pure."""

from typing import Any

from infra.operations.diagram import LinkPicture, PlatformPicture, ServicePicture, SitePicture
from infra.settings import Settings, SiteSettings
from workloads.spec.recipe import Recipe

_STANDS_FOR = {"aws": "for an AWS account", "openstack": "for an OpenStack project", None: ""}


def picture(settings: Settings, recipe: Recipe, exports: dict[str, Any]) -> PlatformPicture:
    """The description, with what the link was measured to be and where everything answers."""
    link = exports["link"]
    return PlatformPicture(
        title="Isthmus",
        subtitle=f"{recipe.name}: {recipe.description}",
        sites=tuple(_site(site, recipe, exports["endpoints"][site.name]) for site in settings.sites),
        links=tuple(LinkPicture(pair.between, link["rate_mbps"], link["rtt_ms"]) for pair in settings.links),
        shared=(ServicePicture("model registry (MLflow)", exports["registry"]),),
    )


def _site(site: SiteSettings, recipe: Recipe, endpoint: str) -> SitePicture:
    workers = f"{site.workers} worker{'s' if site.workers > 1 else ''}"
    return SitePicture(
        name=site.name,
        label=" stand-in ".join(part for part in (site.kind, _STANDS_FOR[site.stands_for]) if part),
        services=(
            ServicePicture("gateway (Envoy)", endpoint),
            ServicePicture("replica (ONNX Runtime)", f"{recipe.name}, mutual TLS"),
            ServicePicture("trainer (torchrun)", f"{workers}, own data shard"),
        ),
    )
