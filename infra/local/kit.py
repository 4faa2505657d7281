"""Every verb of the local platform's wiring, at one place on this machine."""

from functools import partial
from pathlib import Path

import pulumi

from infra.local.components import serving, sites, training
from infra.local.place import Place
from infra.local.ports import PortPlan
from infra.settings import Settings
from infra.topology import Topology


class LocalKit:
    """The components of `infra.local.components`, bound to one folder and one block of ports."""

    def __init__(self, settings: Settings, root: Path, platform: pulumi.Resource) -> None:
        assert settings.local is not None  # noqa: S101 - Settings refuses local sites without it
        place = Place(
            settings=settings,
            folder=root / settings.local.folder,
            topology=Topology.of(settings),
            ports=PortPlan.of(settings),
            platform=platform,
        )
        self.authority = partial(sites.authority, place)
        self.site = partial(sites.site, place)
        self.data = partial(sites.data, place)
        self.link = partial(sites.link, place)
        self.train = partial(training.train, place)
        self.compress = partial(training.compress, place)
        self.registry = partial(serving.registry, place)
        self.register = partial(serving.register, place)
        self.serve = partial(serving.serve, place)
        self.report = partial(serving.report, place)
