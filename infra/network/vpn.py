"""The link between the sites: a transit gateway and a VPN with two tunnels to a gateway, or one to Neutron's VPNaaS."""

from collections.abc import Mapping
from typing import Any

import pulumi_aws as aws

from infra.addressing import AddressPlan
from infra.cloud_contracts import AwsNetworkContract, CloudLinkContract, KeyContract, OpenStackNetworkContract
from infra.network.gateway import gateway
from infra.network.logs import log_group
from infra.network.transit import attach, transit
from infra.network.tunnels import CBC, GCM, USED, bandwidth, options
from infra.network.vpnaas import static_route, vpnaas
from infra.scope import Scope
from infra.settings import Settings

_TWO_BYTES_MORE = 2_147_483_647  # the AS number above which EC2 has an argument of its own


def link(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    aws_side: AwsNetworkContract,
    openstack_side: OpenStackNetworkContract,
    keyring: Mapping[str, KeyContract],
) -> CloudLinkContract:
    """Both tunnels of a VPN connection in use at once, BGP over each; with VPNaaS one tunnel and static routes.

    Active/active, since both tunnels end on one gateway: a flow may return by the other tunnel and still meets the
    state it left, and a tunnel that AWS takes down for maintenance leaves no standby to wake. What is lost with the
    gateway is the link; training goes on at each site meanwhile.

    Raises:
        UserError: the link is faster than two tunnels.
    """
    aws_site, values = settings.aws_site
    site, project = settings.openstack_site
    (figures,) = (link for link in settings.links if set(link.between) == {aws_site.name, site.name})
    dynamic = project.vpn == "gateway"
    scope = scope.component("Link", f"{aws_site.name}-{site.name}")
    core = transit(scope, aws_site.name, addresses, aws_side)
    customer = _customer_gateway(scope, site.name, addresses, openstack_side)
    logs = log_group(scope, f"{site.name}-vpn", values.log_days, keyring)
    carried = bandwidth(figures.rate, USED[project.vpn])
    connection = _connection(scope, site.name, addresses, core.gateway, customer, logs, carried, dynamic=dynamic)
    attached = attach(scope, f"{site.name}-vpn", connection.transit_gateway_attachment_id, core.table)
    if dynamic:
        ready = gateway(scope, settings, addresses, connection, openstack_side)
    else:
        ready = (
            *vpnaas(scope, settings, addresses, connection, openstack_side),
            static_route(scope, site.name, addresses, connection, core.table),
        )
    return CloudLinkContract(
        transit_gateway_id=core.gateway.id,
        vpn_connection_id=connection.id,
        outside_addresses=(connection.tunnel1_address, connection.tunnel2_address),
        rate_mbps=figures.rate,
        rtt_ms=figures.rtt_ms,
        mtu=addresses.tunnel_mtu,
        pod_mtu=addresses.pod_mtu,
        ready=(*core.ready, *attached, *ready),
    )


def _customer_gateway(
    scope: Scope, site: str, addresses: AddressPlan, openstack_side: OpenStackNetworkContract
) -> aws.ec2.CustomerGateway:
    asn = addresses.openstack.asn
    return aws.ec2.CustomerGateway(
        site,
        type="ipsec.1",
        ip_address=openstack_side.gateway_floating_ip,
        bgp_asn=str(asn) if asn <= _TWO_BYTES_MORE else None,
        bgp_asn_extended=None if asn <= _TWO_BYTES_MORE else str(asn),
        device_name=scope.naming.physical(site, 255),
        tags=scope.naming.tags(site, site),
        opts=scope.child(),
    )


def _connection(
    scope: Scope,
    site: str,
    addresses: AddressPlan,
    transit_gateway: aws.ec2transitgateway.TransitGateway,
    customer_gateway: aws.ec2.CustomerGateway,
    logs: aws.cloudwatch.LogGroup,
    carried: str,
    *,
    dynamic: bool,
) -> aws.ec2.VpnConnection:
    """Two tunnels that propose what the other side proposes. AWS draws their keys."""
    suite = GCM if dynamic else CBC
    log = {
        "cloudwatch_log_options": {
            "log_enabled": True,
            "log_group_arn": logs.arn,
            "log_output_format": "json",
            **(
                {"bgp_log_enabled": True, "bgp_log_group_arn": logs.arn, "bgp_log_output_format": "json"}
                if dynamic
                else {}
            ),
        }
    }
    # VPNaaS proposes one pair of selectors, and AWS has to propose the same
    selectors: dict[str, Any] = {
        "local_ipv4_network_cidr": str(addresses.openstack.nodes),
        "remote_ipv4_network_cidr": str(addresses.aws.vpc),
    }
    return aws.ec2.VpnConnection(
        site,
        type="ipsec.1",
        transit_gateway_id=transit_gateway.id,
        customer_gateway_id=customer_gateway.id,
        static_routes_only=not dynamic,
        tunnel_bandwidth=carried,
        tunnel_inside_ip_version="ipv4",
        tags=scope.naming.tags(site, site),
        opts=scope.child(),
        **({} if dynamic else selectors),
        **options(1, addresses, suite, log, starts=True),
        **options(2, addresses, suite, log, starts=dynamic),  # nobody answers the second of VPNaaS
    )
