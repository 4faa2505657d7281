"""From the stack's contracts to the description that `infra.operations.diagram` draws."""

from typing import Any

import pulumi

from infra.contracts import LinkContract, RegistryContract, ServiceContract
from infra.operations.diagram import LinkPicture, PlatformPicture, ServicePicture, SitePicture
from infra.settings import Settings, SiteSettings
from workloads.spec.recipe import Recipe

_STANDS_FOR = {"aws": "for an AWS account", "openstack": "for an OpenStack project", None: ""}


def picture(
    settings: Settings, recipe: Recipe, link: LinkContract, registry: RegistryContract, service: ServiceContract
) -> pulumi.Output[PlatformPicture]:
    """The picture's description, with what the link was measured to be."""
    known: pulumi.Output[dict[str, Any]] = pulumi.Output.from_input(
        {"rate_mbps": link.rate_mbps, "rtt_ms": link.rtt_ms, "endpoints": dict(service.endpoints)}
    )
    return known.apply(lambda values: _describe(settings, recipe, registry.url, values))


def _describe(settings: Settings, recipe: Recipe, registry_url: str, known: dict[str, Any]) -> PlatformPicture:
    return PlatformPicture(
        title="Isthmus",
        subtitle=f"{recipe.name}: {recipe.description}",
        sites=tuple(_site(site, recipe, known["endpoints"][site.name]) for site in settings.sites),
        links=tuple(LinkPicture(link.between, known["rate_mbps"], known["rtt_ms"]) for link in settings.links),
        shared=(ServicePicture("model registry (MLflow)", registry_url),),
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
