"""Every CIDR, address, AS number and MTU of a cloud platform, computed from one supernet a site. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from math import ceil, log2

from infra.address_ranges import Claim, instead, refuse_unfit
from infra.settings import Settings
from workloads.spec.errors import UserError

TUNNEL_MTU = 1446
"""The most that fits inside an AWS VPN tunnel, from the Site-to-Site VPN guide's best practices for gateway devices."""
VXLAN_OVERHEAD = 50

MOST_ZONES = 6
"""For which each VPC has room from its first day, so that a further zone moves nothing."""

POD_BLOCK = 25
"""Prefix length of the pod addresses that Cilium gives to each hybrid node, from the EKS guide on CNIs for them."""

RESERVED_TUNNELS = tuple(
    IPv4Network(f"169.254.{tail}")
    for tail in ("0.0/30", "1.0/30", "2.0/30", "3.0/30", "4.0/30", "5.0/30", "169.252/30")
)
"""Inside ranges that AWS keeps for itself, from EC2's `VpnTunnelOptionsSpecification`."""

_TUNNELS = IPv4Network("169.254.100.0/24")  # away from metadata, NodeLocal DNS, Pod Identity and what AWS keeps
_FIXED_HOSTS = 16  # first addresses of the node network, which DHCP leaves alone


@dataclass(frozen=True)
class AwsAddresses:
    """A VPC; subnets go by zone."""

    vpc: IPv4Network
    public: tuple[IPv4Network, ...]
    private: tuple[IPv4Network, ...]
    intra: tuple[IPv4Network, ...]
    asn: int


@dataclass(frozen=True)
class OpenStackAddresses:
    """A project: hybrid nodes and their pods."""

    supernet: IPv4Network
    nodes: IPv4Network
    gateway: IPv4Address  # of the VPN, inside `nodes`
    router: IPv4Address  # the cloud's own, inside `nodes`
    door: IPv4Address  # of the load balancer before the site's gateway, inside `nodes`
    pods: IPv4Network
    asn: int

    @property
    def dhcp(self) -> tuple[IPv4Address, IPv4Address]:
        """First and last address that servers get."""
        return self.nodes[_FIXED_HOSTS], self.nodes[-2]


@dataclass(frozen=True)
class TunnelAddresses:
    """One tunnel's inside network, a /30: AWS has its first host, the gateway its second."""

    inside: IPv4Network

    @property
    def aws(self) -> IPv4Address:
        return self.inside[1]

    @property
    def gateway(self) -> IPv4Address:
        return self.inside[2]


@dataclass(frozen=True)
class AddressPlan:
    """All of it."""

    aws: AwsAddresses
    openstack: OpenStackAddresses
    services: IPv4Network
    tunnels: tuple[TunnelAddresses, TunnelAddresses]
    tunnel_mtu: int = TUNNEL_MTU

    @property
    def pod_mtu(self) -> int:
        """What a pod may send: the tunnel's MTU less VXLAN."""
        return self.tunnel_mtu - VXLAN_OVERHEAD

    @property
    def mss(self) -> int:
        """To what the gateway clamps TCP: the tunnel's MTU less IPv4 and TCP headers."""
        return self.tunnel_mtu - 40

    @property
    def networks(self) -> dict[str, IPv4Network]:
        """Every network that holds addresses, by what it is for; no two overlap."""
        by_zone = {"public": self.aws.public, "private": self.aws.private, "intra": self.aws.intra}
        return {
            **{f"aws {kind} {zone}": network for kind, row in by_zone.items() for zone, network in enumerate(row)},
            "openstack nodes": self.openstack.nodes,
            "openstack pods": self.openstack.pods,
            "services": self.services,
            **{f"tunnel {index}": tunnel.inside for index, tunnel in enumerate(self.tunnels, 1)},
        }


def address_plan(settings: Settings) -> AddressPlan:
    """The plan of a cloud stack.

    It depends on the supernets alone: further zones and servers take what was kept for them, and move nothing.

    Raises:
        UserError: networks overlap, a supernet is too small or too large, a range is reserved, servers are more than
            the supernet holds, or both sites have one AS number.
    """
    (aws_site, aws), (openstack_site, openstack) = settings.aws_site, settings.openstack_site
    cloud = settings.of_cloud
    # VPCs are /16 to /28 (Amazon VPC guide); a load balancer needs a /27 (Elastic Load Balancing guide) and gets a 64th
    vpc = Claim(
        f"site {aws_site.name}: supernet", aws.supernet, 16, 21, "a VPC is no wider, and its load balancers need a /27"
    )
    # half of it for pods, a quarter for nodes
    project = Claim(
        f"site {openstack_site.name}: supernet",
        openstack.supernet,
        12,
        22,
        "pods of four nodes need a /23, and wider ones leave a VPC, services and a recovery no room in RFC 1918",
    )
    # `serviceIpv4Cidr` of EKS's KubernetesNetworkConfigRequest
    services = Claim("cloud: services", cloud.services, 12, 24, "EKS takes no other size of service range")
    beside = [Claim("recovery: beside", network) for network in cloud.recovery.beside]
    refuse_unfit((vpc, project, services), beside)
    others = [claim.network for claim in (vpc, services, *beside)]
    plan = AddressPlan(
        aws=_aws(aws.supernet, aws.zones, aws.asn),
        openstack=_openstack(project, openstack.servers, openstack.asn, others),
        services=cloud.services,
        tunnels=_tunnels(),
        tunnel_mtu=min(TUNNEL_MTU, _INSIDE[openstack.vpn](openstack.mtu)),
    )
    if aws.asn == openstack.asn:
        # between equal numbers BGP is internal, and a transit gateway speaks external BGP alone
        other = aws.asn + 1 if aws.asn + 1 not in {65535, 4_294_967_295} else aws.asn - 1
        raise UserError(
            f"sites {aws_site.name} and {openstack_site.name} both have asn {aws.asn}; BGP between them needs two: "
            f"set asn: {other} at {openstack_site.name}"
        )
    return plan


def esp_in_udp(outer: int) -> int:
    """The largest packet inside a tunnel of AES-GCM behind NAT, bytes: a floating IP is NAT, so ESP travels in UDP.

    IPv4 20, UDP 8 (RFC 3948), ESP 8 and trailer 2, padded to 4 (RFC 4303), IV 8 and ICV 16 (RFC 4106).
    """
    return (outer - 60) // 4 * 4 - 2


def esp_cbc(outer: int) -> int:
    """The largest packet inside a tunnel of AES-CBC with HMAC-SHA2-512 from a router's own address, bytes.

    IPv4 20, ESP 8 and trailer 2, padded to 16 (RFC 4303), IV 16 (RFC 3602) and ICV 32 (RFC 4868).
    """
    return (outer - 76) // 16 * 16 - 2


_INSIDE = {"gateway": esp_in_udp, "vpnaas": esp_cbc}


def _aws(vpc: IPv4Network, zones: int, asn: int) -> AwsAddresses:
    """An eighth to the nodes and pods of each of six zones; the last two are shared by what needs less."""
    *private, public, intra = vpc.subnets(prefixlen_diff=3)
    return AwsAddresses(
        vpc=vpc,
        public=tuple(public.subnets(prefixlen_diff=3))[:zones],
        private=tuple(private[:zones]),
        intra=tuple(intra.subnets(prefixlen_diff=3))[:zones],
        asn=asn,
    )


def _openstack(claim: Claim, servers: int, asn: int, taken: list[IPv4Network]) -> OpenStackAddresses:
    """The first quarter to nodes, the second half to pods; what lies between is kept free."""
    supernet = claim.network
    nodes, *_ = supernet.subnets(prefixlen_diff=2)
    _, pods = supernet.subnets(prefixlen_diff=1)
    fit = 1 << (POD_BLOCK - pods.prefixlen)  # addresses of their own are never the fewer
    if servers > fit:
        needed = POD_BLOCK - 1 - ceil(log2(servers))
        raise UserError(
            f"{claim.name} {supernet} holds {fit} servers, each with a /{POD_BLOCK} of pods, and {servers} are asked "
            f"for; {instead(claim, taken, needed)}, or ask for fewer"
        )
    return OpenStackAddresses(
        supernet=supernet, nodes=nodes, gateway=nodes[10], router=nodes[1], door=nodes[11], pods=pods, asn=asn
    )


def _tunnels() -> tuple[TunnelAddresses, TunnelAddresses]:
    first, second, *_ = _TUNNELS.subnets(new_prefix=30)
    return TunnelAddresses(first), TunnelAddresses(second)
