"""The transit gateway between the VPC and the VPN, with a route table of its own."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.addressing import AddressPlan
from infra.cloud_contracts import AwsNetworkContract
from infra.scope import Scope


@dataclass(frozen=True)
class Transit:
    """The gateway and what it has attached."""

    gateway: aws.ec2transitgateway.TransitGateway
    table: aws.ec2transitgateway.RouteTable
    ready: tuple[pulumi.Resource, ...]


def transit(scope: Scope, site: str, addresses: AddressPlan, network: AwsNetworkContract) -> Transit:
    """A transit gateway with the VPC attached, and the VPC's routes to the OpenStack side through it."""
    name = f"{site}-transit"
    gateway = aws.ec2transitgateway.TransitGateway(
        name,
        description=f"{scope.naming.prefix} between {site} and OpenStack",
        amazon_side_asn=addresses.aws.asn,
        # who reaches whom is said by a table, not by being attached
        default_route_table_association="disable",
        default_route_table_propagation="disable",
        auto_accept_shared_attachments="disable",
        dns_support="enable",
        vpn_ecmp_support="enable",
        tags=scope.naming.tags(name, site),
        opts=scope.child(),
    )
    attachment = aws.ec2transitgateway.VpcAttachment(
        name,
        transit_gateway_id=gateway.id,
        vpc_id=network.vpc_id,
        subnet_ids=list(network.intra_subnets),
        dns_support="enable",
        transit_gateway_default_route_table_association=False,
        transit_gateway_default_route_table_propagation=False,
        tags=scope.naming.tags(name, site),
        opts=scope.child(),
    )
    table = aws.ec2transitgateway.RouteTable(
        name, transit_gateway_id=gateway.id, tags=scope.naming.tags(name, site), opts=scope.child()
    )
    attached = attach(scope, f"{name}-vpc", attachment.id, table)
    tables = {"private": network.private_route_tables, "intra": network.intra_route_tables}
    routes = [
        aws.ec2.Route(
            f"{site}-{kind}-{index}-openstack",
            route_table_id=route_table,
            destination_cidr_block=str(addresses.openstack.supernet),
            transit_gateway_id=gateway.id,
            opts=scope.child(attachment),  # EC2 refuses a route to a gateway that the VPC is not attached to
        )
        for kind, rows in tables.items()
        for index, route_table in enumerate(rows)
    ]
    return Transit(gateway, table, (*attached, *routes))


def attach(
    scope: Scope, name: str, attachment: pulumi.Input[str], table: aws.ec2transitgateway.RouteTable
) -> tuple[pulumi.Resource, ...]:
    """Let what comes from an attachment use the table, and let the table learn the attachment's routes."""
    return (
        aws.ec2transitgateway.RouteTableAssociation(
            name,
            transit_gateway_attachment_id=attachment,
            transit_gateway_route_table_id=table.id,
            opts=scope.child(),
        ),
        aws.ec2transitgateway.RouteTablePropagation(
            name,
            transit_gateway_attachment_id=attachment,
            transit_gateway_route_table_id=table.id,
            opts=scope.child(),
        ),
    )
