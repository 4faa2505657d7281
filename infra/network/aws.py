"""The AWS half of the network: a VPC over zones with public, private and intra subnets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.addressing import AddressPlan
from infra.cloud_contracts import AwsNetworkContract, KeyContract
from infra.network.endpoints import gateway_endpoint, interface_endpoints
from infra.network.logs import flow_log
from infra.scope import Scope
from infra.settings import Settings
from workloads.spec.errors import UserError

if TYPE_CHECKING:
    from ipaddress import IPv4Network


def network(
    scope: Scope, settings: Settings, addresses: AddressPlan, keyring: Mapping[str, KeyContract]
) -> AwsNetworkContract:
    """A VPC with its ways in and out. Private subnets hold nodes and pods, intra ones have no way out."""
    site, values = settings.aws_site
    scope = scope.component("AwsNetwork", f"{site.name}-network")
    vpc = aws.ec2.Vpc(
        site.name,
        cidr_block=str(addresses.aws.vpc),
        enable_dns_support=True,
        enable_dns_hostnames=True,  # private names of endpoints demand it
        tags=scope.naming.tags(site.name, site.name),
        opts=scope.child(),
    )
    # whatever names no group of its own can talk to nobody
    aws.ec2.DefaultSecurityGroup(
        f"{site.name}-default",
        vpc_id=vpc.id,
        ingress=[],
        egress=[],
        tags=scope.naming.tags(f"{site.name}-default", site.name),
        opts=scope.child(),
    )
    zones = aws.get_availability_zones_output(
        # local zones have neither NAT gateways nor EKS; a zone that is out of order now still has its place
        filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
        opts=pulumi.InvokeOutputOptions(parent=scope.parent),
    )
    build = _Builder(scope, site.name, vpc, zones.names)
    public, private, intra = (build.subnets(kind, addresses) for kind in ("public", "private", "intra"))
    way_out, public_joins = build.internet(public)
    private_tables, private_joins = build.tables("private", private)
    intra_tables, intra_joins = build.tables("intra", intra)
    nat, nat_addresses = build.nat(
        {"none": 0, "one": 1, "zone": len(public)}[values.nat], public, private_tables, way_out
    )
    inner = [*private_tables, *intra_tables]
    endpoints = [gateway_endpoint(scope, site.name, values.region, vpc, inner)]
    if values.interface_endpoints:
        ids = [subnet.id for subnet in intra]
        endpoints += interface_endpoints(scope, site.name, values.region, vpc, ids, addresses)
    flow_log(scope, f"{site.name}-flow", vpc, values.log_days, keyring)
    return AwsNetworkContract(
        vpc_id=vpc.id,
        zones=tuple(subnet.availability_zone for subnet in private),
        public_subnets=tuple(subnet.id for subnet in public),
        private_subnets=tuple(subnet.id for subnet in private),
        intra_subnets=tuple(subnet.id for subnet in intra),
        private_route_tables=tuple(table.id for table in private_tables),
        intra_route_tables=tuple(table.id for table in intra_tables),
        nat_addresses=nat_addresses,
        ready=(*public_joins, *private_joins, *intra_joins, *nat, *endpoints),
    )


@dataclass(frozen=True)
class _Builder:
    """Makes the parts that each kind of subnet has."""

    scope: Scope
    site: str
    vpc: aws.ec2.Vpc
    zones: pulumi.Output[list[str]]  # of the region

    def tags(self, name: str) -> dict[str, str]:
        return self.scope.naming.tags(name, self.site)

    def subnets(self, kind: str, addresses: AddressPlan) -> list[aws.ec2.Subnet]:
        networks: tuple[IPv4Network, ...] = getattr(addresses.aws, kind)
        return [
            aws.ec2.Subnet(
                f"{self.site}-{kind}-{index}",
                vpc_id=self.vpc.id,
                cidr_block=str(cidr),
                availability_zone=self._zone(index),
                map_public_ip_on_launch=False,  # gateways and load balancers bring their own addresses
                tags={**self.tags(f"{self.site}-{kind}-{index}"), **subnet_tags(kind, self.scope.naming.prefix)},
                opts=pulumi.ResourceOptions.merge(
                    # a zone that AWS opens later must not push a subnet that is there into another
                    self.scope.child(),
                    pulumi.ResourceOptions(ignore_changes=["availabilityZone"]),
                ),
            )
            for index, cidr in enumerate(networks)
        ]

    def _zone(self, index: int) -> pulumi.Output[str]:
        return self.zones.apply(lambda names: nth_zone(names, index, self.site))

    def internet(self, public: list[aws.ec2.Subnet]) -> tuple[aws.ec2.Route, list[aws.ec2.RouteTableAssociation]]:
        """The way out of the public subnets, by one table: an internet gateway has no zone to fail with."""
        name = f"{self.site}-public"
        gateway = aws.ec2.InternetGateway(
            self.site, vpc_id=self.vpc.id, tags=self.tags(self.site), opts=self.scope.child()
        )
        table = aws.ec2.RouteTable(name, vpc_id=self.vpc.id, tags=self.tags(name), opts=self.scope.child())
        route = aws.ec2.Route(
            name,
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.id,
            opts=self.scope.child(),
        )
        return route, [self._join(f"{name}-{index}", subnet, table) for index, subnet in enumerate(public)]

    def tables(
        self, kind: str, subnets: list[aws.ec2.Subnet]
    ) -> tuple[list[aws.ec2.RouteTable], list[aws.ec2.RouteTableAssociation]]:
        """A table a zone, also where they are alike now: their NAT gateways may come to differ."""
        tables, joins = [], []
        for index, subnet in enumerate(subnets):
            name = f"{self.site}-{kind}-{index}"
            table = aws.ec2.RouteTable(name, vpc_id=self.vpc.id, tags=self.tags(name), opts=self.scope.child())
            joins.append(self._join(name, subnet, table))
            tables.append(table)
        return tables, joins

    def nat(
        self, count: int, public: list[aws.ec2.Subnet], tables: list[aws.ec2.RouteTable], way_out: aws.ec2.Route
    ) -> tuple[list[aws.ec2.Route], tuple[pulumi.Output[str], ...]]:
        """`count` NAT gateways and each private table's route to its zone's, or to the last there is; their addresses."""
        gateways, addresses = [], []
        for index in range(count):
            name = f"{self.site}-nat-{index}"
            address = aws.ec2.Eip(name, domain="vpc", tags=self.tags(name), opts=self.scope.child(way_out))
            addresses.append(address.public_ip)
            gateways.append(
                aws.ec2.NatGateway(
                    name,
                    subnet_id=public[index].id,
                    allocation_id=address.allocation_id,
                    tags=self.tags(name),
                    # without the internet gateway's route it starts and reaches nothing
                    opts=self.scope.child(way_out),
                )
            )
        routes = [
            aws.ec2.Route(
                f"{self.site}-private-{index}-out",
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=gateways[min(index, count - 1)].id,
                opts=self.scope.child(),
            )
            for index, table in enumerate(tables if count else [])
        ]
        return routes, tuple(addresses)

    def _join(self, name: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable) -> aws.ec2.RouteTableAssociation:
        return aws.ec2.RouteTableAssociation(
            name, subnet_id=subnet.id, route_table_id=table.id, opts=self.scope.child()
        )


def nth_zone(names: Sequence[str], index: int, site: str) -> str:
    """A region's zone in the order of their letters. Raises `UserError` where it has not so many."""
    if index >= len(names):
        raise UserError(
            f"site {site}: zones is more than the {len(names)} that its region has ({', '.join(sorted(names))}); "
            f"set zones: {len(names)}, or choose another region"
        )
    return sorted(names)[index]


def subnet_tags(kind: str, cluster: str) -> dict[str, str]:
    """What load balancers and Karpenter find subnets by, from the EKS guide and Karpenter's `EC2NodeClass`."""
    return {
        "public": {"kubernetes.io/role/elb": "1"},
        "private": {"kubernetes.io/role/internal-elb": "1", "karpenter.sh/discovery": cluster},
        "intra": {},
    }[kind]
