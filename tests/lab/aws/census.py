"""What is in the emulated account now, asked of each service."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import boto3
import jmespath
from botocore.config import Config

from tests.lab.aws.layout import KEYS, REGION, emulator_of, url
from tests.lab.providers.aws import kept


@dataclass(frozen=True)
class Listing:
    """One operation, and where in its answer the names stand (JMESPath) of what a stack may have made."""

    service: str
    operation: str
    names: str
    arguments: tuple[tuple[str, Any], ...] = ()


def _there(result: str, name: str) -> str:
    """Rows that are not deleted; EC2 tells of those for a while."""
    return f"{result}[?State!='deleted'].{name}"


_OWN_VPCS: Final = "Vpcs[?!IsDefault].VpcId"
"""Every account has a VPC by default in every region, with subnets, a gateway and a table: none of a stack's."""

KINDS: Final[Mapping[str, Listing]] = {
    "addresses": Listing("ec2", "describe_addresses", "Addresses[].PublicIp"),
    "aliases": Listing("kms", "list_aliases", "Aliases[?!starts_with(AliasName, 'alias/aws/')].AliasName"),
    "buckets": Listing("s3", "list_buckets", "Buckets[].Name"),
    "clusters": Listing("eks", "list_clusters", "clusters[]"),
    "customer gateways": Listing("ec2", "describe_customer_gateways", _there("CustomerGateways", "CustomerGatewayId")),
    "endpoints": Listing("ec2", "describe_vpc_endpoints", _there("VpcEndpoints", "VpcEndpointId")),
    "flow logs": Listing("ec2", "describe_flow_logs", "FlowLogs[].FlowLogId"),
    "keys": Listing("kms", "list_keys", "Keys[].KeyId"),
    "launch templates": Listing("ec2", "describe_launch_templates", "LaunchTemplates[].LaunchTemplateName"),
    "log groups": Listing("logs", "describe_log_groups", "logGroups[].logGroupName"),
    "NAT gateways": Listing("ec2", "describe_nat_gateways", _there("NatGateways", "NatGatewayId")),
    "roles": Listing("iam", "list_roles", "Roles[?!starts_with(Path, '/aws-service-role/')].RoleName"),
    "secrets": Listing("secretsmanager", "list_secrets", "SecretList[?!DeletedDate].Name"),
    "transit attachments": Listing(
        "ec2",
        "describe_transit_gateway_attachments",
        _there("TransitGatewayAttachments", "TransitGatewayAttachmentId"),
    ),
    "transit gateways": Listing("ec2", "describe_transit_gateways", _there("TransitGateways", "TransitGatewayId")),
    "transit route tables": Listing(
        "ec2",
        "describe_transit_gateway_route_tables",
        # the default one is a part of its gateway
        "TransitGatewayRouteTables[?!DefaultAssociationRouteTable && State!='deleted'].TransitGatewayRouteTableId",
    ),
    "VPCs": Listing("ec2", "describe_vpcs", _OWN_VPCS),
    "VPN connections": Listing("ec2", "describe_vpn_connections", _there("VpnConnections", "VpnConnectionId")),
}

INSIDE_VPCS: Final[Mapping[str, Listing]] = {
    "internet gateways": Listing(
        "ec2", "describe_internet_gateways", "InternetGateways[].{name: InternetGatewayId, vpc: Attachments[0].VpcId}"
    ),
    "route tables": Listing(
        "ec2",
        "describe_route_tables",
        "RouteTables[?length(Associations[?Main])==`0`].{name: RouteTableId, vpc: VpcId}",
    ),
    "security groups": Listing(
        "ec2", "describe_security_groups", "SecurityGroups[?GroupName!='default'].{name: GroupName, vpc: VpcId}"
    ),
    "subnets": Listing("ec2", "describe_subnets", "Subnets[].{name: SubnetId, vpc: VpcId}"),
}
"""What the default VPC has of its own is left out."""

INSIDE_CLUSTERS: Final[Mapping[str, Listing]] = {
    "access entries": Listing("eks", "list_access_entries", "accessEntries[]"),
    "add-ons": Listing("eks", "list_addons", "addons[]"),
    "node groups": Listing("eks", "list_nodegroups", "nodegroups[]"),
    "pod identities": Listing(
        "eks", "list_pod_identity_associations", "associations[].join('/', [namespace, serviceAccount])"
    ),
}


def census(region: str = REGION) -> dict[str, list[str]]:
    """Names by kind, also of kinds of which there are none."""
    found = {kind: _ask(listing, region) for kind, listing in KINDS.items()}
    found["keys"] = [key for key in found["keys"] if not _key_is_going(key, region)]
    default = _ask(Listing("ec2", "describe_vpcs", "Vpcs[?IsDefault].VpcId"), region)
    for kind, listing in INSIDE_VPCS.items():
        found[kind] = [row["name"] for row in _ask(listing, region) if row["vpc"] not in default]
    for kind, listing in INSIDE_CLUSTERS.items():
        found[kind] = [
            f"{cluster}/{name}"
            for cluster in found["clusters"]
            for name in _ask(
                Listing(listing.service, listing.operation, listing.names, (("clusterName", cluster),)), region
            )
        ]
    found |= {kind: [str(document.get("name")) for document in rows] for kind, rows in kept.everything().items()}
    return {kind: sorted(found[kind]) for kind in sorted(found)}


def left(counted: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The kinds of which there is something."""
    return {kind: list(names) for kind, names in counted.items() if names}


def _ask(listing: Listing, region: str) -> list[Any]:
    client = _client(listing.service, region)
    if client.can_paginate(listing.operation):
        pages = client.get_paginator(listing.operation).paginate(**dict(listing.arguments))
        return [row for page in pages for row in jmespath.search(listing.names, page) or []]
    answer = getattr(client, listing.operation)(**dict(listing.arguments))
    return list(jmespath.search(listing.names, answer) or [])


def _key_is_going(key: str, region: str) -> bool:
    """A key is deleted by an order that takes effect days later; AWS's own keys are not a stack's either."""
    told = _client("kms", region).describe_key(KeyId=key)["KeyMetadata"]
    return told["KeyState"] == "PendingDeletion" or told.get("KeyManager") == "AWS"


@cache
def _client(service: str, region: str) -> Any:
    access, secret = KEYS
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=url(emulator_of(service)),
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(proxies={}),
    )
