"""Which loopback port of the local stack is whose: a pure plan, as `addressing` is for a cloud."""

import socket
from dataclasses import dataclass

from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError

_SITE_BLOCK = 10
_FIRST_SITE = 20
_FIRST_CHANNEL = 120
MAX_SITES = 8
LAST_OFFSET = _FIRST_CHANNEL + MAX_SITES * MAX_SITES * 2


@dataclass(frozen=True)
class PortPlan:
    """Ports from `base` upwards; sites count from 0 in the stack's order."""

    base: int
    sites: int

    def __post_init__(self) -> None:
        if self.sites > MAX_SITES:
            raise UserError(f"{self.sites} local sites are more than {MAX_SITES}; one machine emulates no more")

    def gateway(self, site: int) -> Endpoint:
        """Where a site's users send requests."""
        return self._at(site)

    @property
    def registry(self) -> Endpoint:
        return self._at(10)

    @property
    def link_control(self) -> Endpoint:
        return self._at(11)

    def exchange(self, site: int) -> Endpoint:
        return self._site(site, 0)

    def rendezvous(self, site: int) -> Endpoint:
        return self._site(site, 1)

    def replica(self, site: int) -> Endpoint:
        return self._site(site, 2)

    def gateway_admin(self, site: int) -> Endpoint:
        return self._site(site, 3)

    def training_channel(self, source: int, destination: int) -> Endpoint:
        """Where `source` reaches `destination`'s exchange through the link."""
        return self._channel(source, destination, 0)

    def serving_channel(self, source: int, destination: int) -> Endpoint:
        """Where `source` reaches `destination`'s replica through the link."""
        return self._channel(source, destination, 1)

    def named(self) -> dict[str, Endpoint]:
        """Every port that the stack listens on, by what listens there."""
        sites = range(self.sites)
        ports = {"the registry": self.registry, "the link's control": self.link_control}
        for site in sites:
            ports[f"the gateway of site {site}"] = self.gateway(site)
            ports[f"the gateway's admin of site {site}"] = self.gateway_admin(site)
            ports[f"the exchange of site {site}"] = self.exchange(site)
            ports[f"the rendezvous of site {site}"] = self.rendezvous(site)
            ports[f"the replica of site {site}"] = self.replica(site)
        for a in sites:
            for b in sites:
                if a != b:
                    ports[f"the training channel {a} to {b}"] = self.training_channel(a, b)
                    ports[f"the serving channel {a} to {b}"] = self.serving_channel(a, b)
        return ports

    def _at(self, offset: int) -> Endpoint:
        return Endpoint(port=self.base + offset)

    def _site(self, site: int, offset: int) -> Endpoint:
        return self._at(_FIRST_SITE + site * _SITE_BLOCK + offset)

    def _channel(self, source: int, destination: int, purpose: int) -> Endpoint:
        return self._at(_FIRST_CHANNEL + (source * MAX_SITES + destination) * 2 + purpose)


def in_use(endpoint: Endpoint) -> bool:
    """Whether somebody listens on a port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError:
            return True
    return False
