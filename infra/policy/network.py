"""Rules on networks: what is open to the world, what sits where, and numbers that must fit together."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, ip_network
from itertools import combinations
from typing import Any, Final

from infra.addressing import TUNNEL_MTU, VXLAN_OVERHEAD
from infra.fields import PRIVATE_NETWORKS
from infra.policy.rule import Config, Finding, Resource, Rule, StackRule, items, mapping, of_type

_WORLD: Final = frozenset({"0.0.0.0/0", "::/0"})
_ANY: Final = (0, 65535)
_GATEWAY_PORTS: Final = ((500, 500), (4500, 4500))  # IKEv2 and its NAT traversal: RFC 7296
_INGRESS_PORT: Final = (443, 443)
_BALANCER: Final = "service.beta.kubernetes.io/aws-load-balancer"

Opening = tuple[str, tuple[int, int]]
"""A protocol and a range of ports that the world may send to."""


def open_ports(resource: Resource, config: Config) -> list[str]:
    """Only a gateway's IKE ports and the ingress's HTTPS face the world."""
    of_gateway = str(config["gateway"]) in resource.name
    return [
        f"{resource.name} opens {protocol} {_ports(ports)} to the world, limit udp 500 and 4500 of the gateway and "
        "tcp 443; name the networks that may come"
        for protocol, ports in _openings(resource)
        if not (protocol in {"tcp", "6"} and ports == _INGRESS_PORT)
        and not (of_gateway and protocol in {"udp", "17"} and ports in _GATEWAY_PORTS)
    ]


def _openings(resource: Resource) -> list[Opening]:
    found = _OPENINGS.get(resource.type)
    return found(resource.props) if found else []


def _of_group(props: Mapping[str, Any]) -> list[Opening]:
    rules = [mapping(rule) for rule in items(props.get("ingress"))]
    return [_opening(rule, "protocol") for rule in rules if _from_the_world(rule, "cidrBlocks", "ipv6CidrBlocks")]


def _of_group_rule(props: Mapping[str, Any]) -> list[Opening]:
    coming = props.get("type") == "ingress" and _from_the_world(props, "cidrBlocks", "ipv6CidrBlocks")
    return [_opening(props, "protocol")] * coming


def _of_ingress_rule(props: Mapping[str, Any]) -> list[Opening]:
    return [_opening(props, "ipProtocol")] * _from_the_world(props, "cidrIpv4", "cidrIpv6")


def _of_neutron_rule(props: Mapping[str, Any]) -> list[Opening]:
    anyone = not any(key in props for key in ("remoteIpPrefix", "remoteGroupId", "remoteAddressGroupId"))
    coming = props.get("direction") == "ingress" and (anyone or _from_the_world(props, "remoteIpPrefix"))
    protocol = str(props.get("protocol") or "any")
    return [_range(protocol, props.get("portRangeMin"), props.get("portRangeMax"))] * coming


def _of_cluster(props: Mapping[str, Any]) -> list[Opening]:
    access = mapping(props.get("vpcConfig"))
    public = access.get("endpointPublicAccess", True)  # so is EKS's own default
    everybody = "publicAccessCidrs" not in access or _from_the_world(access, "publicAccessCidrs")
    return [("the Kubernetes API on tcp", _INGRESS_PORT)] * bool(public is True and everybody)


def _of_service(props: Mapping[str, Any]) -> list[Opening]:
    spec = mapping(props.get("spec"))
    annotations = mapping(mapping(props.get("metadata")).get("annotations"))
    ranges = items(spec.get("loadBalancerSourceRanges"))
    inside = annotations.get(f"{_BALANCER}-internal") == "true" or annotations.get(f"{_BALANCER}-scheme") == "internal"
    if spec.get("type") != "LoadBalancer" or inside or (ranges and not _WORLD & set(map(str, ranges))):
        return []
    ports = [mapping(port) for port in items(spec.get("ports"))]
    return [_range(str(port.get("protocol", "TCP")).lower(), port.get("port"), port.get("port")) for port in ports]


def _of_listener(props: Mapping[str, Any]) -> list[Opening]:
    """Of Octavia; without networks that may come, everybody may."""
    anyone = props.get("allowedCidrs") in (None, [])
    protocol = {"UDP": "udp", "SCTP": "sctp"}.get(str(props.get("protocol")), "tcp")
    port = props.get("protocolPort")
    return [_range(protocol, port, port)] * (anyone or _from_the_world(props, "allowedCidrs"))


_OPENINGS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Opening]]]] = {
    "aws:ec2/securityGroup:SecurityGroup": _of_group,
    "aws:ec2/securityGroupRule:SecurityGroupRule": _of_group_rule,
    "aws:eks/cluster:Cluster": _of_cluster,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _of_ingress_rule,
    "kubernetes:core/v1:Service": _of_service,
    "openstack:loadbalancer/listener:Listener": _of_listener,
    "openstack:networking/secGroupRule:SecGroupRule": _of_neutron_rule,
}


def _from_the_world(rule: Mapping[str, Any], *keys: str) -> bool:
    sources = [rule.get(key) for key in keys]
    return any(
        str(entry) in _WORLD for source in sources for entry in (source if isinstance(source, list) else [source])
    )


def _opening(rule: Mapping[str, Any], protocol: str) -> Opening:
    return _range(str(rule.get(protocol)), rule.get("fromPort"), rule.get("toPort"))


def _range(protocol: str, low: Any, high: Any) -> Opening:
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low < 0:
        return protocol, _ANY
    return protocol, (int(low), int(high))


def _ports(ports: tuple[int, int]) -> str:
    low, high = ports
    return "of every port" if ports == _ANY else f"port {low}" if low == high else f"ports {low}-{high}"


def groups_on_ports(resource: Resource, _: Config) -> list[str]:
    """Groups of a server would be a second set beside its port's own."""
    if resource.type != "openstack:compute/instance:Instance" or not resource.props.get("securityGroups"):
        return []
    return [f"server {resource.name} has security groups, limit none; put them on its openstack.networking.Port"]


_FLOATING: Final = (
    "openstack:networking/floatingIp:FloatingIp",
    "openstack:networking/floatingIpAssociate:FloatingIpAssociate",
    "openstack:compute/floatingIpAssociate:FloatingIpAssociate",
)
_LOAD_BALANCER: Final = "openstack:loadbalancer/loadBalancer:LoadBalancer"


def floating_ips(resources: Sequence[Resource], config: Config) -> list[Finding]:
    """Servers of the project reach out by the router; in comes who goes to the gateway, or to a load balancer's listeners."""
    balancers = {resource.urn for resource in of_type(resources, _LOAD_BALANCER)}
    return [
        Finding(
            f"floating IP {resource.name} is neither the gateway's nor a load balancer's, limit one of each; reach "
            "servers through the VPN",
            resource.urn,
        )
        for resource in of_type(resources, *_FLOATING)
        if str(config["gateway"]) not in resource.name and not balancers & set(resource.needs.get("portId", ()))
    ]


def mtu(resources: Sequence[Resource], config: Config) -> list[Finding]:
    """No packet is larger than what the tunnel carries."""
    findings = []
    limits = {"mtu": config["tunnel"], "pod_mtu": config["pods"]}
    for stack in of_type(resources, "pulumi:pulumi:Stack"):
        link = mapping(stack.props.get("link"))
        findings += [
            Finding(f"link {key} is {link[key]:g}, limit {limit}; packets above it are lost: lower it", stack.urn)
            for key, limit in limits.items()
            if isinstance(link.get(key), int | float) and link[key] > limit
        ]
    for release in of_type(resources, "kubernetes:helm.sh/v3:Release"):
        size = mapping(release.props.get("values")).get("MTU")  # Cilium's chart
        # of the network beneath: Cilium itself takes off what it wraps pods' packets in, and 0 means a guess
        if isinstance(size, int | float) and (size > config["tunnel"] or size == 0):
            findings.append(
                Finding(f"{release.name}: MTU is {size:g}, limit {config['tunnel']}; lower it", release.urn)
            )
    return findings


def cidrs(resources: Sequence[Resource], _: Config) -> list[Finding]:
    """Networks that meet over the link are private and apart."""
    claims = [claim for resource in resources for claim in _claims(resource)]
    findings = [
        Finding(f"{what} {network} is outside RFC 1918; take it from the site's supernet", urn)
        for what, network, urn in claims
        if not any(network.subnet_of(private) for private in PRIVATE_NETWORKS)
    ]
    for (what, network, urn), (other, theirs, _urn) in combinations(claims, 2):
        # an OpenStack subnet and the cluster's list of hybrid nodes mean the same machines
        same = what != other and {what, other} == {"OpenStack subnet", "hybrid nodes"}
        if network.overlaps(theirs) and not same:
            findings.append(Finding(f"{what} {network} overlaps {other} {theirs}; move one of them", urn))
    return findings


def _claims(resource: Resource) -> list[tuple[str, IPv4Network, str]]:
    props = resource.props
    found: list[tuple[str, Any]] = []
    if resource.type == "aws:ec2/vpc:Vpc":
        found = [("VPC", props.get("cidrBlock"))]
    if resource.type == "openstack:networking/subnet:Subnet":
        found = [("OpenStack subnet", props.get("cidr"))]
    if resource.type == "aws:eks/cluster:Cluster":
        remote = mapping(props.get("remoteNetworkConfig"))
        found = [("services", mapping(props.get("kubernetesNetworkConfig")).get("serviceIpv4Cidr"))]
        for what, key in (("hybrid nodes", "remoteNodeNetworks"), ("hybrid pods", "remotePodNetworks")):
            listed = mapping(remote.get(key)).get("cidrs") if isinstance(remote.get(key), Mapping) else None
            found += [(what, cidr) for cidr in items(listed)]
    networks = [(what, ip_network(cidr)) for what, cidr in found if isinstance(cidr, str)]
    return [(what, network, resource.urn) for what, network in networks if isinstance(network, IPv4Network)]


_GATEWAY: Final = {"gateway": {"type": "string", "default": "gateway"}}

RULES: Final = (
    Rule(
        "open-ports",
        "Nothing faces the world but the gateway's UDP 500 and 4500 and the ingress's TCP 443.",
        open_ports,
        _GATEWAY,
    ),
    Rule("groups-on-ports", "Security groups of OpenStack are on ports, never on servers.", groups_on_ports),
    StackRule("floating-ips", "Nothing but the gateway and load balancers has a floating IP.", floating_ips, _GATEWAY),
    StackRule(
        "mtu",
        f"The tunnel's MTU is at most {TUNNEL_MTU}, the pods' at most {TUNNEL_MTU - VXLAN_OVERHEAD}.",
        mtu,
        {
            "tunnel": {"type": "integer", "default": TUNNEL_MTU},
            "pods": {"type": "integer", "default": TUNNEL_MTU - VXLAN_OVERHEAD},
        },
    ),
    StackRule("cidrs", "Networks of the VPC, the project, pods and services are in RFC 1918 and apart.", cidrs),
)
