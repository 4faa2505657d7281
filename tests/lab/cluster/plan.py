"""The cluster's nodes and addresses, computed from a stack's values by the program's own functions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final
from urllib.parse import urlsplit

from infra.addressing import POD_BLOCK, AddressPlan, address_plan
from infra.cloud_contracts import PoolContract
from infra.cluster.labels import ZONE_LABEL
from infra.cluster.pools import declared_pools
from infra.releases import OFF_HYBRID_NODES
from infra.scheduling.rendering import GPU_TAINT
from infra.settings import Settings
from tests.lab.cluster.layout import AWS, NODE_NAMES, OPENSTACK, PREFIX

INSTANCE_TYPE_LABEL: Final = "node.kubernetes.io/instance-type"
_SYSTEM_CPUS, _SYSTEM_MEMORY_GIB = 8, 32  # of two m7i.xlarge, which are what a stack has where it says nothing
_NODES = 24  # prefix length of what is cut from the first zone: one for nodes, the next for pods


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, and the size that it is said to have."""

    name: str
    router: str  # namespace of its site's
    address: IPv4Interface
    pods: IPv4Network
    labels: Mapping[str, str]
    taints: tuple[str, ...]  # KEY=VALUE:EFFECT
    gpus: int
    cpus: int
    memory_gib: int

    @property
    def namespace(self) -> str:
        return f"{PREFIX}{self.name}"


@dataclass(frozen=True)
class Site:
    """A router with a network of nodes, and a port at which it passes on to this machine's loopback."""

    namespace: str
    gateway: IPv4Interface
    supernet: IPv4Network
    store_port: int


@dataclass(frozen=True)
class Plan:
    """All of it."""

    aws: Site
    openstack: Site
    services: IPv4Network
    nodes: tuple[Node, ...]
    link_mtu: int
    pod_mtu: int
    rate_mbps: float
    rtt_ms: float

    @property
    def dns(self) -> IPv4Address:
        return self.services[10]

    @property
    def sites(self) -> tuple[Site, Site]:
        return self.aws, self.openstack

    def node(self, name: str) -> Node:
        """Raises `LookupError` for a name that no node has."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LookupError(f"node {name!r} is none of {', '.join(node.name for node in self.nodes)}")

    def site_of(self, node: Node) -> Site:
        return self.aws if node.router == self.aws.namespace else self.openstack


def plan(settings: Settings) -> Plan:
    """The plan of a cloud stack, with a node for the first pool of each site.

    Raises:
        UserError: as `address_plan` and `declared_pools` do.
    """
    addresses = address_plan(settings)
    near, far = (
        next(pool for pool in declared_pools(settings) if pool.cloud == cloud) for cloud in ("aws", "openstack")
    )
    here, there, *_ = addresses.aws.private[0].subnets(new_prefix=_NODES)
    aws, openstack = _sites(settings, addresses, here)
    return Plan(
        aws=aws,
        openstack=openstack,
        services=addresses.services,
        nodes=(_aws_node(settings, near, here, there), _openstack_node(addresses, far)),
        link_mtu=addresses.tunnel_mtu,
        pod_mtu=addresses.pod_mtu,
        rate_mbps=settings.links[0].rate,
        rtt_ms=settings.links[0].rtt_ms,
    )


def _sites(settings: Settings, addresses: AddressPlan, nodes: IPv4Network) -> tuple[Site, Site]:
    (_, aws), (_, openstack) = settings.aws_site, settings.openstack_site
    router, others = addresses.openstack.router, addresses.openstack.nodes
    return (
        Site(AWS, IPv4Interface(f"{nodes[1]}/{nodes.prefixlen}"), addresses.aws.vpc, _port(aws.endpoints["s3"])),
        Site(
            OPENSTACK,
            IPv4Interface(f"{router}/{others.prefixlen}"),
            addresses.openstack.supernet,
            _port(openstack.object_store.endpoint),
        ),
    )


def _port(endpoint: str) -> int:
    parts = urlsplit(endpoint)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def _aws_node(settings: Settings, pool: PoolContract, nodes: IPv4Network, pods: IPv4Network) -> Node:
    """It stands for a GPU node and for the system nodes: it is as large as they are together, and has no taint."""
    _, site = settings.aws_site
    return Node(
        name=NODE_NAMES[0],
        router=AWS,
        address=IPv4Interface(f"{nodes[16]}/{nodes.prefixlen}"),
        pods=pods,
        labels={
            **pool.labels,
            # what EKS's cloud provider adds
            ZONE_LABEL: f"{site.region}a",
            INSTANCE_TYPE_LABEL: site.gpu_pools[0].instance_type,
        },
        taints=(),
        gpus=pool.gpus_per_node,
        cpus=pool.cpus_per_node + _SYSTEM_CPUS,
        memory_gib=pool.memory_gib_per_node + _SYSTEM_MEMORY_GIB,
    )


def _openstack_node(addresses: AddressPlan, pool: PoolContract) -> Node:
    first, _ = addresses.openstack.dhcp
    return Node(
        name=NODE_NAMES[1],
        router=OPENSTACK,
        address=IPv4Interface(f"{first}/{addresses.openstack.nodes.prefixlen}"),
        pods=next(addresses.openstack.pods.subnets(new_prefix=POD_BLOCK)),
        labels={**pool.labels, **_of_hybrid_nodes()},
        taints=("{key}={value}:{effect}".format(**GPU_TAINT),),
        gpus=pool.gpus_per_node,
        cpus=pool.cpus_per_node,
        memory_gib=pool.memory_gib_per_node,
    )


def _of_hybrid_nodes() -> dict[str, str]:
    """The label by which the program keeps off them what must not be there."""
    (term,) = OFF_HYBRID_NODES["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (rule,) = term["matchExpressions"]
    (value,) = rule["values"]
    return {rule["key"]: value}
