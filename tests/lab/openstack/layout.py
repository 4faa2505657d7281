"""Where the control plane lies and listens."""

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
REGION = "RegionOne"
CLOUD = "isthmus-lab"
"""Its entry of `clouds.yaml`, as `stacks/Pulumi.lab.yaml` names it."""
PROJECT = "isthmus"
SERVICE_USER = "services"
ADMIN = "admin"

# The services' usual ports, with which clouds' documentation and the lab's stack file work.
PORTS = {
    "keystone": 5000,
    "placement": 8778,
    "glance": 9292,
    "neutron": 9696,
    "nova": 8774,
    "barbican": 9311,
    "octavia": 9876,
    "swift-account": 6202,
    "swift-container": 6201,
    "swift-object": 6200,
    "swift-proxy": 8080,
}


def url(service: str) -> str:
    """Where a service answers."""
    return f"http://{HOST}:{PORTS[service]}"


@dataclass(frozen=True)
class Layout:
    """Folders below one root. All but the environment is of one run, and goes with it."""

    root: Path

    @property
    def environment(self) -> Path:
        """The virtual environment of the services, which share nothing with the project's own."""
        return self.root / "venv"

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def etc(self) -> Path:
        return self.run / "etc"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    @property
    def home(self) -> Path:
        """What the services take for the user's home: caches and `~/.barbican` stay inside."""
        return self.run / "home"

    @property
    def catalogue_ready(self) -> Path:
        return self.run / "catalogue.ready"

    @property
    def compute_ready(self) -> Path:
        return self.run / "compute.ready"

    @property
    def clouds(self) -> Path:
        return self.run / "clouds.yaml"

    def database(self, name: str) -> str:
        """SQLAlchemy's URL of a service's database; a writer waits a minute for another."""
        return f"sqlite:///{self.run}/databases/{name}.sqlite?timeout=60"
