"""The OpenStack half of the network: one network for nodes and gateway, a router, and groups for their ports."""

from dataclasses import dataclass

import pulumi
import pulumi_openstack as openstack

from infra.addressing import AddressPlan
from infra.cloud_contracts import OpenStackNetworkContract
from infra.cloud_settings import OpenStackSettings
from infra.network.options import alone
from infra.network.security import gateway_rules, node_rules, security_group
from infra.scope import Scope
from infra.settings import Settings
from workloads.spec.errors import UserError


def network(scope: Scope, settings: Settings, addresses: AddressPlan) -> OpenStackNetworkContract:
    """A network with the way out, and the place where the link will end: a gateway's port, or the router itself."""
    site, values = settings.openstack_site
    scope = scope.component("OpenStackNetwork", f"{site.name}-network")
    tags = scope.naming.tag_list(site.name)
    net = openstack.networking.Network(
        site.name, name=scope.naming.physical(site.name, 255), admin_state_up=True, tags=tags, opts=scope.child()
    )
    place = _Place(scope, site.name, values, addresses, net, *_routed(scope, site.name, values, addresses, net))
    end = {"gateway": place.port, "vpnaas": place.router_itself}[values.vpn]()
    nodes = security_group(scope, site.name, f"{site.name}-nodes", "nodes of the cluster", node_rules(addresses))
    key_pair = _key_pair(scope, site.name, values)
    return OpenStackNetworkContract(
        network_id=net.id,
        subnet_id=place.subnet.id,
        router_id=place.router.id,
        mtu=net.mtu.apply(lambda mtu: wide_enough(mtu, site.name, values.mtu)),
        node_security_group=nodes.id,
        gateway_security_group=end.group,
        gateway_port=end.port,
        gateway_address=end.address,
        gateway_floating_ip=end.floating_ip,
        key_pair=key_pair.name if key_pair else None,
        outside_address=place.outside,
        ready=(place.interface, *end.routes),
    )


def wide_enough(mtu: int, site: str, needed: int) -> int:
    """The MTU that the cloud gave its network, bytes.

    Raises:
        UserError: the tunnels were planned for a wider network.
    """
    if mtu < needed:
        raise UserError(
            f"site {site}: its network has an MTU of {mtu}, and the tunnels are planned for {needed}; "
            f"set openstack.mtu: {mtu}"
        )
    return mtu


@dataclass(frozen=True)
class _End:
    """Where the link ends on this side."""

    group: pulumi.Output[str] | None
    port: pulumi.Output[str]
    address: pulumi.Output[str]
    floating_ip: pulumi.Output[str]
    routes: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True)
class _Place:
    """A network that is routed, and what can end the link there."""

    scope: Scope
    site: str
    values: OpenStackSettings
    addresses: AddressPlan
    net: openstack.networking.Network
    subnet: openstack.networking.Subnet
    router: openstack.networking.Router
    interface: openstack.networking.RouterInterface

    @property
    def outside(self) -> pulumi.Output[str]:
        """The router's own address on the external network: what it translates the nodes' addresses to."""
        return self.router.external_fixed_ips.apply(lambda fixed: str(fixed[0].ip_address))

    def router_itself(self) -> _End:
        """With VPNaaS: its agent ends the tunnel on the router's own outer address."""
        return _End(
            group=None,
            port=self.interface.port_id,
            address=pulumi.Output.from_input(str(self.addresses.openstack.router)),
            floating_ip=self.outside,
        )

    def port(self) -> _End:
        """The gateway's port with its floating IP, which outlive the server."""
        name, tags = f"{self.site}-gateway", self.scope.naming.tag_list(self.site)
        rules = gateway_rules(self.addresses, self.values.gateway.admin_networks)
        group = security_group(self.scope, self.site, name, "VPN gateway", rules)
        port = openstack.networking.Port(
            name,
            name=self.scope.naming.physical(name, 255),
            network_id=self.net.id,
            fixed_ips=[{"subnet_id": self.subnet.id, "ip_address": str(self.addresses.openstack.gateway)}],
            port_security_enabled=True,
            security_group_ids=[group.id],
            # it sends and gets what bears addresses of the VPC; port security drops the rest
            allowed_address_pairs=[{"ip_address": str(self.addresses.aws.vpc)}],
            tags=tags,
            opts=alone(self.scope),  # of two ports one has the address
        )
        floating = openstack.networking.FloatingIp(
            name,
            pool=self.values.external_network,
            port_id=port.id,
            description=f"{self.scope.naming.prefix} VPN gateway",
            tags=tags,
            opts=self.scope.child(self.interface),  # Neutron refuses it while no router joins the port to the outside
        )
        return _End(
            group=group.id,
            port=port.id,
            address=pulumi.Output.from_input(str(self.addresses.openstack.gateway)),
            floating_ip=floating.address,
            routes=self._routes(),
        )

    def _routes(self) -> tuple[pulumi.Resource, ...]:
        """The way to the VPC, once for the router and once by DHCP, which spares nodes the detour over the router."""
        destination, gateway = str(self.addresses.aws.vpc), str(self.addresses.openstack.gateway)
        return (
            openstack.networking.RouterRoute(
                f"{self.site}-vpc",
                router_id=self.router.id,
                destination_cidr=destination,
                next_hop=gateway,
                # Neutron takes a next hop only on a network that the router is on
                opts=self.scope.child(self.interface),
            ),
            openstack.networking.SubnetRoute(
                f"{self.site}-vpc",
                subnet_id=self.subnet.id,
                destination_cidr=destination,
                next_hop=gateway,
                opts=self.scope.child(),
            ),
        )


def _routed(
    scope: Scope, site: str, values: OpenStackSettings, addresses: AddressPlan, net: openstack.networking.Network
) -> tuple[openstack.networking.Subnet, openstack.networking.Router, openstack.networking.RouterInterface]:
    tags = scope.naming.tag_list(site)
    first, last = addresses.openstack.dhcp
    subnet = openstack.networking.Subnet(
        f"{site}-nodes",
        name=scope.naming.physical(f"{site}-nodes", 255),
        network_id=net.id,
        ip_version=4,
        cidr=str(addresses.openstack.nodes),
        gateway_ip=str(addresses.openstack.router),
        allocation_pools=[{"start": str(first), "end": str(last)}],  # fixed addresses lie before them
        dns_nameservers=[str(server) for server in values.dns],
        tags=tags,
        opts=scope.child(),
    )
    outside = openstack.networking.get_network_output(
        name=values.external_network, external=True, opts=pulumi.InvokeOutputOptions(parent=scope.parent)
    )
    router = openstack.networking.Router(
        site,
        name=scope.naming.physical(site, 255),
        admin_state_up=True,
        external_network_id=outside.id,
        tags=tags,
        opts=scope.child(),
    )
    interface = openstack.networking.RouterInterface(site, router_id=router.id, subnet_id=subnet.id, opts=scope.child())
    return subnet, router, interface


def _key_pair(scope: Scope, site: str, values: OpenStackSettings) -> openstack.compute.Keypair | None:
    if values.ssh_public_key is None:
        return None
    return openstack.compute.Keypair(
        site, name=scope.naming.physical(site, 255), public_key=values.ssh_public_key, opts=alone(scope)
    )
