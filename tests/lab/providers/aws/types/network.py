"""EC2: the network of a VPC, its gateways and its routes."""

import hashlib
from typing import Any, Final

from tests.lab.providers.aws.spec import Make, Op, Step, Tagging, Type, Work, arn, each


def ec2_tags(kind: str) -> Tagging:
    """As EC2 tags whatever it has, under the name that it gives to the type."""
    return Tagging("create_tags", "delete_tags", "Resources", ["$id"], keys="Tags", kind=kind)


def described(operation: str, argument: str, result: str) -> Op:
    """The one object of an id."""
    return Op(operation, {argument: ["$id"]}, f"{result}[0]")


def _switched(attribute: str, word: str) -> Op:
    return Op("modify_vpc_attribute", {"VpcId": "$id", attribute: {"Value": word}})


def _of_vpc(operation: str, result: str, **filters: str) -> Step:
    """What comes with every VPC."""
    wanted = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    return Op(operation, {"Filters": [{"Name": "vpc-id", "Values": ["$id"]}, *wanted]}, result)


VPC = Type(
    "aws:ec2/vpc:Vpc",
    "ec2",
    create=Make("create_vpc", result="Vpc.VpcId"),
    read=described("describe_vpcs", "VpcIds", "Vpcs"),
    delete=Op("delete_vpc", {"VpcId": "$id"}),
    later={
        "enableDnsSupport": _switched("EnableDnsSupport", "$enableDnsSupport"),
        "enableDnsHostnames": _switched("EnableDnsHostnames", "$enableDnsHostnames"),
    },
    tells={
        name: Op("describe_vpc_attribute", {"VpcId": "$id", "Attribute": name}, f"{name[:1].upper()}{name[1:]}.Value")
        for name in ("enableDnsSupport", "enableDnsHostnames")
    },
    tagging=ec2_tags("vpc"),
    outputs={
        "arn": arn("ec2", "vpc/$id"),
        "ownerId": "OwnerId",
        "mainRouteTableId": _of_vpc("describe_route_tables", "RouteTables[?Associations[?Main]].RouteTableId | [0]"),
        "defaultSecurityGroupId": _of_vpc(
            "describe_security_groups", "SecurityGroups[0].GroupId", group_name="default"
        ),
    },
    ready=("State", frozenset({"available"})),
)

SUBNET = Type(
    "aws:ec2/subnet:Subnet",
    "ec2",
    create=Make("create_subnet", result="Subnet.SubnetId"),
    read=described("describe_subnets", "SubnetIds", "Subnets"),
    delete=Op("delete_subnet", {"SubnetId": "$id"}),
    later={
        "mapPublicIpOnLaunch": Op(
            "modify_subnet_attribute", {"SubnetId": "$id", "MapPublicIpOnLaunch": {"Value": "$mapPublicIpOnLaunch"}}
        )
    },
    tagging=ec2_tags("subnet"),
    outputs={"arn": arn("ec2", "subnet/$id"), "availabilityZoneId": "AvailabilityZoneId", "ownerId": "OwnerId"},
    ready=("State", frozenset({"available"})),
)


def _detached(work: Work) -> None:
    for attachment in work.found.get("Attachments") or []:
        work.call("detach_internet_gateway", InternetGatewayId=work.id, VpcId=attachment["VpcId"])
    work.call("delete_internet_gateway", InternetGatewayId=work.id)


INTERNET_GATEWAY = Type(
    "aws:ec2/internetGateway:InternetGateway",
    "ec2",
    create=Make("create_internet_gateway", result="InternetGateway.InternetGatewayId"),
    read=described("describe_internet_gateways", "InternetGatewayIds", "InternetGateways"),
    delete=_detached,
    later={"vpcId": Op("attach_internet_gateway", {"InternetGatewayId": "$id", "VpcId": "$vpcId"})},
    tells={"vpcId": "Attachments[0].VpcId"},
    tagging=ec2_tags("internet-gateway"),
    outputs={"arn": arn("ec2", "internet-gateway/$id"), "ownerId": "OwnerId"},
)

ADDRESS = Type(
    "aws:ec2/eip:Eip",
    "ec2",
    create=Make("allocate_address", result="AllocationId"),
    read=described("describe_addresses", "AllocationIds", "Addresses"),
    delete=Op("release_address", {"AllocationId": "$id"}),
    tagging=ec2_tags("elastic-ip"),
    outputs={
        "arn": arn("ec2", "elastic-ip/$id"),
        "allocationId": "AllocationId",
        "publicIp": "PublicIp",
    },
)

NAT_GATEWAY = Type(
    "aws:ec2/natGateway:NatGateway",
    "ec2",
    create=Make("create_nat_gateway", result="NatGateway.NatGatewayId"),
    read=described("describe_nat_gateways", "NatGatewayIds", "NatGateways"),
    delete=Op("delete_nat_gateway", {"NatGatewayId": "$id"}),
    tells={"allocationId": "NatGatewayAddresses[0].AllocationId"},
    tagging=ec2_tags("natgateway"),
    outputs={
        "publicIp": "NatGatewayAddresses[0].PublicIp",
        "privateIp": "NatGatewayAddresses[0].PrivateIp",
        "networkInterfaceId": "NatGatewayAddresses[0].NetworkInterfaceId",
    },
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

ROUTE_TABLE = Type(
    "aws:ec2/routeTable:RouteTable",
    "ec2",
    create=Make("create_route_table", result="RouteTable.RouteTableId"),
    read=described("describe_route_tables", "RouteTableIds", "RouteTables"),
    delete=Op("delete_route_table", {"RouteTableId": "$id"}),
    tagging=ec2_tags("route-table"),
    outputs={"arn": arn("ec2", "route-table/$id"), "ownerId": "OwnerId"},
)

_TARGETS: Final = ("gatewayId", "natGatewayId", "transitGatewayId")
_TABLE = {"RouteTableId": "$routeTableId", "DestinationCidrBlock": "$destinationCidrBlock"}


def _route(work: Work) -> str:
    work.call("create_route", **work.api("create_route", work.new))
    digest = hashlib.sha256(work.new["destinationCidrBlock"].encode()).hexdigest()[:10]
    return f"r-{work.new['routeTableId']}{digest}"


def _found_route(work: Work) -> Any:
    path = f"RouteTables[0].Routes[?DestinationCidrBlock=='{work.new['destinationCidrBlock']}'] | [0]"
    return Op("describe_route_tables", {"RouteTableIds": ["$routeTableId"]}, path)(work)


ROUTE = Type(
    "aws:ec2/route:Route",
    "ec2",
    create=_route,
    read=_found_route,
    delete=Op("delete_route", _TABLE),
    changes=each(
        Op("replace_route", {**_TABLE, **{f"{name[:1].upper()}{name[1:]}": f"${name}" for name in _TARGETS}}), _TARGETS
    ),
    outputs={"state": "State", "origin": "Origin"},
    unique=("routeTableId", "destinationCidrBlock"),
)

ROUTE_TABLE_ASSOCIATION = Type(
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "ec2",
    create=Make("associate_route_table", result="AssociationId"),
    read=lambda work: Op(
        "describe_route_tables",
        {"RouteTableIds": ["$routeTableId"]},
        f"RouteTables[0].Associations[?RouteTableAssociationId=='{work.id}'] | [0]",
    )(work),
    delete=Op("disassociate_route_table", {"AssociationId": "$id"}),
    unique=("subnetId",),
)

TYPES: Final = (
    VPC,
    SUBNET,
    INTERNET_GATEWAY,
    ADDRESS,
    NAT_GATEWAY,
    ROUTE_TABLE,
    ROUTE,
    ROUTE_TABLE_ASSOCIATION,
)
