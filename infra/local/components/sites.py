"""The sites: their identities, their share of the machine, their data and the link between them."""

from collections.abc import Mapping

from infra import contracts
from infra.local import launch, resources
from infra.local.place import Place
from infra.scope import Group
from infra.settings import SiteSettings
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import ShardLaunch
from workloads.spec.recipe import Recipe


def authority(place: Place) -> contracts.TrustContract:
    """One identity a site, and the pair of keys that signs models."""
    drawn = resources.SiteAuthority(
        "authority", {"folder": str(place.pki), "sites": list(place.topology.names)}, place.under(place.platform)
    )
    return contracts.TrustContract(
        credentials={site: place.credentials(site) for site in place.topology.names},
        signing_key=place.pki / "signer" / "key.pem",
        public_key=place.pki / "signer" / "public.pem",
        fingerprint=drawn.output("fingerprint"),
    )


def site(place: Place, settings: SiteSettings) -> contracts.SiteContract:
    """A folder of its own and a share of this machine."""
    group = Group("Site", settings.name, place.platform)
    host = resources.Site(
        f"{settings.name}-host",
        {
            "name": settings.name,
            "folder": str(place.site_folder(settings.name)),
            "workers": settings.workers,
            "machine_share": len(place.topology.sites),
        },
        place.under(group),
    )
    return contracts.SiteContract(
        settings=settings,
        facts=host.output("facts").apply(SiteFacts.model_validate),
        component=group,
        resource=host,
    )


def data(place: Place, site: contracts.SiteContract, recipe: Recipe) -> contracts.DataContract:
    """The site's part of the recipe's data, named by what decides its content."""
    name = site.settings.name
    identity = launch.digest_of(recipe.data.model_dump_json(), name, *place.topology.names)
    folder = place.site_folder(name) / "data" / identity[:12]
    spec = ShardLaunch(recipe=recipe, site=name, sites=place.topology.names, folder=folder)
    shard = resources.DataShard(
        f"{name}-data",
        place.job(f"{name}-data", identity, spec.model_dump(mode="json")),
        place.under(site.component, site.resource),
    )
    return contracts.DataContract(
        site=name, folder=folder, digest=shard.output("data_digest"), samples=shard.output("samples")
    )


def link(place: Place, sites: Mapping[str, contracts.SiteContract]) -> contracts.LinkContract:
    """The emulated WAN, with a channel for training and one for serving in each direction."""
    del sites  # the relay needs their ports alone, and the plan has them
    spec = launch.render_relay(place.topology, place.ports)
    link = resources.Link("link", place.service("link", spec.model_dump(mode="json")), place.under(place.platform))
    pairs = {pair: tuple(map(place.topology.index, pair)) for pair in place.topology.ordered_pairs()}
    return contracts.LinkContract(
        rate_mbps=link.output("rate_mbps"),
        rtt_ms=link.output("rtt_ms"),
        serving={pair: place.ports.serving_channel(a, b) for pair, (a, b) in pairs.items()},
        switch=f"http://{place.ports.link_control}/outage",
        resource=link,
    )
