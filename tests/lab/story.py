"""What the drills of one run share: the cluster, the stack, the report, and what one drill found that a later one needs."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from infra.settings import Settings
from tests.lab import place
from tests.lab.cluster import Cluster
from tests.lab.drills import probes, serving
from tests.lab.drills.serving import Client
from tests.lab.drills.stores import SiteStore, open_stores
from tests.lab.drills.training import Run
from tests.lab.drills.view import View
from tests.lab.engine import Stack
from tests.lab.log import Log
from tests.lab.openstack.layout import Layout
from tests.lab.record import Record


@dataclass
class Story:
    """Drills go on where those before them ended."""

    log: Log
    record: Record
    cluster: Cluster
    view: View
    stack: Stack
    openstack: Layout
    client: Client | None = None
    found: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(cls) -> Self:
        log, record = Log(place.REPORT / "log"), Record(place.REPORT / "report.json")
        record.begin_run()
        openstack = Layout(place.LAB / "openstack")
        cluster = Cluster()
        stack = Stack(place.STACK, place.HOME, openstack.clouds, log)
        return cls(log, record, cluster, View(cluster, log), stack, openstack)

    @property
    def settings(self) -> Settings:
        return self.stack.session.settings

    @property
    def sites(self) -> tuple[str, str]:
        """AWS's first."""
        return self.settings.aws_site[0].name, self.settings.openstack_site[0].name

    @cached_property
    def alias(self) -> str:
        return self.settings.registry.alias

    def run(self) -> Run:
        """The training run that the stack has submitted last."""
        return Run.of(self.view, self.stack.outputs()["run"]["job"])

    def stores(self) -> dict[str, SiteStore]:
        return open_stores(self.view, self.stack.outputs()["stores"])

    def asking(self) -> Client:
        """A client at each site, with the gateways as they were found last."""
        return self.client if self.client is not None else self.find_doors()

    def find_doors(self) -> Client:
        """The same with the gateways as they are: a new one has another address."""
        probes.at_sites(self.view, self.sites)
        self.client = serving.open_doors(self.view, self.settings.of_cloud.serving.host, self.sites)
        return self.client
