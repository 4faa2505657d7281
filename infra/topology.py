"""Which sites there are and which link joins which two: pure values out of `Settings`."""

from dataclasses import dataclass

from infra.settings import LinkSettings, Settings, SiteSettings


@dataclass(frozen=True)
class Topology:
    """Sites in the stack's order; the first one publishes what all have made."""

    sites: tuple[SiteSettings, ...]
    links: tuple[LinkSettings, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Topology":
        return cls(settings.sites, settings.links)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(site.name for site in self.sites)

    def index(self, name: str) -> int:
        """Position of a site. Raises `ValueError`."""
        return self.names.index(name)

    def peers(self, name: str) -> tuple[str, ...]:
        """All other sites, in order."""
        return tuple(other for other in self.names if other != name)

    def ordered_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every direction of every link."""
        return tuple((a, b) for a in self.names for b in self.peers(a))
