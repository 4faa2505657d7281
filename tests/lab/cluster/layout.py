"""Where the cluster lies on this machine, and how it is called there. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Final

from infra.settings import ROOT

LAB: Final = ROOT / ".state/lab"

PREFIX: Final = "isthmus-"
CONTROL, AWS, OPENSTACK = (f"{PREFIX}{name}" for name in ("control", "aws", "os"))
"""Network namespaces of the control plane and of the sites' routers."""

NODE_NAMES: Final = ("aws-gpu-0", "os-gpu-0")
SPACES: Final = (CONTROL, AWS, OPENSTACK, *(f"{PREFIX}{name}" for name in NODE_NAMES))
"""All network namespaces, known without a stack's values: whoever takes them away may have none."""

DEVICE: Final = "isthmus-lab"
"""The host's way into the lab."""
CGROUP: Final = "isthmus-lab"
"""Above all cgroups of nodes, in every hierarchy."""
CGROUPS: Final = Path("/sys/fs/cgroup")
NAMESPACES: Final = Path("/run/netns")

BACKBONE: Final = IPv4Network("10.30.0.0/24")
HOST, API, AWS_BORDER = (IPv4Interface(f"{BACKBONE[number]}/{BACKBONE.prefixlen}") for number in (1, 2, 3))
PORT: Final = 6443
WAN: Final = IPv4Network("10.30.1.0/30")
WAN_DEVICE: Final = "wan0"  # as the emulator calls it
POD_IDENTITY: Final = IPv4Address("169.254.170.23")  # of each node, where EKS has its agent

VOLUME_ON_NODE: Final = Path("/var/lib/lab-volumes/registry")


def url() -> str:
    """Of the API server, for all."""
    return f"https://{API.ip}:{PORT}"


@dataclass(frozen=True)
class Layout:
    """Folders below one root. `bin`, `images` and `store` are kept; the rest is of one cluster."""

    root: Path = LAB / "cluster"

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator, beside the root: `stacks/Pulumi.lab.yaml` names it."""
        return self.root.parent / "kubeconfig"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def store(self) -> Path:
        """Of images, as containerd keeps them."""
        return self.root / "store"

    @property
    def run(self) -> Path:
        """Records and logs of daemons, and their configuration."""
        return self.root / "run"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def counters(self) -> Path:
        """What the link has carried, as the emulator writes it."""
        return self.run / "link.counters"

    def kubeconfig_of(self, name: str) -> Path:
        return self.pki / f"{name}.kubeconfig"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def note(self) -> Path:
        """That the folder of network namespaces was mounted for the lab."""
        return self.root / "mounted-netns"

    @property
    def volume(self) -> Path:
        """On this machine what nodes have at `VOLUME_ON_NODE`."""
        return self.node(NODE_NAMES[0]) / "lib/lab-volumes/registry"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes"

    def node(self, name: str) -> Path:
        """A node's disk."""
        return self.nodes / name
