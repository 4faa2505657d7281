"""One explicit provider a kind of site. Default providers are disabled in every stack."""

from collections.abc import Mapping

import pulumi

from infra.settings import Settings, SiteKind

_PLUGINS: Mapping[SiteKind, tuple[str, ...]] = {
    "local": (),  # its provider is in this repository
    "aws": ("aws", "kubernetes"),
    "openstack": ("kubernetes", "openstack"),
}


def plugins_of(settings: Settings) -> tuple[str, ...]:
    """Names of the cloud plugins that the engine needs for a stack, none for a local one."""
    of_sites = {name for site in settings.sites for name in _PLUGINS[site.kind]}
    builds = settings.cloud is not None and settings.cloud.images.to_build
    return tuple(sorted({*of_sites, *(("docker-build",) if builds else ())}))


class LocalProvider(pulumi.ProviderResource):
    """The provider of package `isthmus`, which `Pulumi.yaml` loads from this repository."""

    def __init__(self, name: str) -> None:
        super().__init__("isthmus", name, {})
