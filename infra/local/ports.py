"""Which loopback port of the local stack is whose: a pure plan, as `addressing` is for a cloud."""

import socket
from dataclasses import dataclass

from infra.settings import Settings
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError

BLOCK = 400  # ports that a stack may use, from its base upwards
MAX_SITES = 8
MAX_PARTS = 8  # of a model that is split over a site's workers
_REGISTRY, _LINK_CONTROL = 10, 11
_FIRST_SITE = 20
_OF_SITE = 4  # rendezvous, replica, gateway's admin, metrics; the exchanges follow


@dataclass(frozen=True)
class PortPlan:
    """Ports from `base` upwards; sites count from 0 in the stack's order, parts of the model from 0 to `parts` - 1."""

    base: int
    sites: int
    parts: int = 1

    def __post_init__(self) -> None:
        if self.sites > MAX_SITES:
            raise UserError(f"{self.sites} local sites are more than {MAX_SITES}; one machine emulates no more")

    @classmethod
    def of(cls, settings: Settings) -> "PortPlan":
        """The plan of a stack: ports for as many parts as its smallest site has workers to hold one, if so many fit.

        How a model is split is decided later, from what the link is measured to be, and the link needs its ports first.
        """
        if settings.local is None:
            raise AssertionError("Settings refuses local sites without isthmus:local")
        base, sites = settings.local.base_port, len(settings.sites)
        most = min(MAX_PARTS, *(site.workers for site in settings.sites))
        plans = (cls(base, sites, parts) for parts in range(most, 0, -1))
        return next(plan for plan in plans if plan.size <= BLOCK)

    @property
    def size(self) -> int:
        """How many ports lie between the first and the last."""
        return self._first_channel + self.sites * max(0, self.sites - 1) * (self.parts + 1)

    def gateway(self, site: int) -> Endpoint:
        """Where a site's users send requests."""
        return self._at(site)

    @property
    def registry(self) -> Endpoint:
        return self._at(_REGISTRY)

    @property
    def link_control(self) -> Endpoint:
        return self._at(_LINK_CONTROL)

    def rendezvous(self, site: int) -> Endpoint:
        return self._site(site, 0)

    def replica(self, site: int) -> Endpoint:
        return self._site(site, 1)

    def gateway_admin(self, site: int) -> Endpoint:
        return self._site(site, 2)

    def metrics(self, site: int) -> Endpoint:
        """Where a site's trainer tells Prometheus how it goes."""
        return self._site(site, 3)

    def exchange(self, site: int, part: int) -> Endpoint:
        """Where a site serves its updates of a part of the model."""
        return self._site(site, _OF_SITE + part)

    def serving_channel(self, source: int, destination: int) -> Endpoint:
        """Where `source` reaches `destination`'s replica through the link."""
        return self._channel(source, destination, 0)

    def training_channel(self, source: int, destination: int, part: int) -> Endpoint:
        """Where `source` reaches `destination`'s exchange of a part of the model through the link."""
        return self._channel(source, destination, 1 + part)

    def named(self) -> dict[str, Endpoint]:
        """Every port that the stack listens on, by what listens there."""
        sites, parts = range(self.sites), range(self.parts)
        ports = {"the registry": self.registry, "the link's control": self.link_control}
        for site in sites:
            ports[f"the gateway of site {site}"] = self.gateway(site)
            ports[f"the gateway's admin of site {site}"] = self.gateway_admin(site)
            ports[f"the rendezvous of site {site}"] = self.rendezvous(site)
            ports[f"the replica of site {site}"] = self.replica(site)
            ports[f"the metrics of site {site}"] = self.metrics(site)
            for part in parts:
                ports[f"the exchange of site {site}, part {part}"] = self.exchange(site, part)
        for a in sites:
            for b in sites:
                if a != b:
                    ports[f"the serving channel {a} to {b}"] = self.serving_channel(a, b)
                    for part in parts:
                        ports[f"the training channel {a} to {b}, part {part}"] = self.training_channel(a, b, part)
        return ports

    @property
    def _first_channel(self) -> int:
        return _FIRST_SITE + self.sites * (_OF_SITE + self.parts)

    def _at(self, offset: int) -> Endpoint:
        return Endpoint(port=self.base + offset)

    def _site(self, site: int, offset: int) -> Endpoint:
        return self._at(_FIRST_SITE + site * (_OF_SITE + self.parts) + offset)

    def _channel(self, source: int, destination: int, use: int) -> Endpoint:
        pair = source * (self.sites - 1) + destination - (destination > source)
        return self._at(self._first_channel + pair * (self.parts + 1) + use)


def in_use(endpoint: Endpoint) -> bool:
    """Whether somebody listens on a port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError:
            return True
    return False
