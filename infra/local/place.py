"""Where the local platform lives: one folder, one block of ports, one parent for its resources."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from infra.local.ports import PortPlan
from infra.settings import Settings
from infra.topology import Topology
from workloads.spec.base import Credentials


@dataclass(frozen=True)
class Place:
    """What every component of the local platform needs to know of its surroundings."""

    settings: Settings
    folder: Path
    topology: Topology
    ports: PortPlan
    platform: pulumi.Resource

    @property
    def pki(self) -> Path:
        """Keys and certificates, a folder a site."""
        return self.folder / "pki"

    def site_folder(self, name: str) -> Path:
        """A site's own disk."""
        return self.folder / "sites" / name

    def credentials(self, site: str) -> Credentials:
        """A site's files of mutual TLS, where `isthmus:local:SiteAuthority` puts them."""
        return Credentials(
            ca=self.pki / "ca.pem", certificate=self.pki / site / "cert.pem", key=self.pki / site / "key.pem"
        )

    def job(self, name: str, identity: pulumi.Input[str], spec: pulumi.Input[dict[str, Any]]) -> dict[str, Any]:
        """Inputs of a job: a folder an identity, so that an old result stands until the new one is there."""
        known: pulumi.Output[str] = pulumi.Output.from_input(identity)
        folder = known.apply(lambda digest: str(self.folder / "jobs" / f"{name}-{digest[:12]}"))
        return {"identity": identity, "launch": spec, "folder": folder}

    def service(self, name: str, spec: pulumi.Input[dict[str, Any]], *depends: pulumi.Input[str]) -> dict[str, Any]:
        """Inputs of a service: one folder a name, since there is one process a name."""
        return {"folder": str(self.folder / "services" / name), "spec": spec, "depends": list(depends)}

    @staticmethod
    def under(parent: pulumi.Resource, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a child. `after` orders what no value connects: a process that another one looks for at its start."""
        return pulumi.ResourceOptions(parent=parent, depends_on=list(after))
