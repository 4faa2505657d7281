"""The link by Neutron's VPNaaS, where a cloud offers it and no gateway VM is wanted.

Less than the gateway, and not by choice of ours: VPNaaS has policies by CIDR and no BGP, so that

- one tunnel is used, since two with equal selectors exclude each other: AWS's maintenance of it cuts the link;
- the node network alone is reached, since local endpoints are subnets: pods go out under their node's address, and
  nothing on AWS opens a connection to a pod on OpenStack;
- AES-CBC with group 14 is the strongest that every release takes.
"""

import pulumi
import pulumi_aws as aws
import pulumi_openstack as openstack

from infra.addressing import AddressPlan
from infra.cloud_contracts import OpenStackNetworkContract
from infra.network.tunnels import DPD_S, ESP_LIFETIME_S, IKE_LIFETIME_S
from infra.scope import Scope
from infra.settings import Settings

_HASH, _CIPHER, _GROUP = "sha512", "aes-256", "group14"  # `tunnels.CBC` in Neutron's words


def vpnaas(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    connection: aws.ec2.VpnConnection,
    network: OpenStackNetworkContract,
) -> tuple[pulumi.Resource, ...]:
    """A site connection of the router to the first tunnel."""
    site, _ = settings.openstack_site
    name = scope.naming.physical(site.name, 255)
    service = openstack.vpnaas.Service(
        site.name, name=name, router_id=network.router_id, admin_state_up=True, opts=scope.child(*network.ready)
    )
    ike = openstack.vpnaas.IkePolicy(
        site.name,
        name=name,
        ike_version="v2",
        lifetimes=[{"units": "seconds", "value": IKE_LIFETIME_S}],
        auth_algorithm=_HASH,
        encryption_algorithm=_CIPHER,
        pfs=_GROUP,
        opts=scope.child(),
    )
    esp = openstack.vpnaas.IpSecPolicy(
        site.name,
        name=name,
        transform_protocol="esp",
        encapsulation_mode="tunnel",
        lifetimes=[{"units": "seconds", "value": ESP_LIFETIME_S}],
        auth_algorithm=_HASH,
        encryption_algorithm=_CIPHER,
        pfs=_GROUP,
        opts=scope.child(),
    )
    ours = openstack.vpnaas.EndpointGroup(
        f"{site.name}-nodes", name=f"{name}-nodes", type="subnet", endpoints=[network.subnet_id], opts=scope.child()
    )
    theirs = openstack.vpnaas.EndpointGroup(
        f"{site.name}-vpc", name=f"{name}-vpc", type="cidr", endpoints=[str(addresses.aws.vpc)], opts=scope.child()
    )
    key: pulumi.Output[str] = pulumi.Output.secret(connection.tunnel1_preshared_key)
    return (
        openstack.vpnaas.SiteConnection(
            site.name,
            name=name,
            vpnservice_id=service.id,
            ikepolicy_id=ike.id,
            ipsecpolicy_id=esp.id,
            local_ep_group_id=ours.id,
            peer_ep_group_id=theirs.id,
            local_id=network.gateway_floating_ip,
            peer_id=connection.tunnel1_address,
            peer_address=connection.tunnel1_address,
            psk=key,
            initiator="bi-directional",
            mtu=addresses.tunnel_mtu,
            dpds=[{"action": "restart", "interval": DPD_S // 3, "timeout": DPD_S}],
            admin_state_up=True,
            opts=scope.child(),
        ),
    )


def static_route(
    scope: Scope,
    site: str,
    addresses: AddressPlan,
    connection: aws.ec2.VpnConnection,
    table: aws.ec2transitgateway.RouteTable,
) -> pulumi.Resource:
    """The way to the nodes: routes of the VPN connection itself are for virtual private gateways alone."""
    return aws.ec2transitgateway.Route(
        f"{site}-nodes",
        destination_cidr_block=str(addresses.openstack.nodes),
        transit_gateway_attachment_id=connection.transit_gateway_attachment_id,
        transit_gateway_route_table_id=table.id,
        opts=scope.child(),
    )
