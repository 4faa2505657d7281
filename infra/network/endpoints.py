"""Ways to AWS's own services that do not leave the network."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra.addressing import AddressPlan
from infra.scope import Scope

INTERFACES = (
    "autoscaling",
    "ec2",
    "ec2messages",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "kms",
    "logs",
    "secretsmanager",
    "ssm",
    "ssmmessages",
    "sts",
)
"""What nodes and controllers call, from the EKS guide on clusters without internet access."""


def gateway_endpoint(
    scope: Scope, site: str, region: str, vpc: aws.ec2.Vpc, tables: Sequence[aws.ec2.RouteTable]
) -> aws.ec2.VpcEndpoint:
    """S3 without a NAT gateway between: checkpoints and image layers are most of the traffic, and this way is free."""
    name = f"{site}-s3"
    return aws.ec2.VpcEndpoint(
        name,
        vpc_id=vpc.id,
        vpc_endpoint_type="Gateway",
        service_name=f"com.amazonaws.{region}.s3",
        route_table_ids=[table.id for table in tables],
        tags=scope.naming.tags(name, site),
        opts=scope.child(),
    )


def interface_endpoints(
    scope: Scope,
    site: str,
    region: str,
    vpc: aws.ec2.Vpc,
    subnets: Sequence[pulumi.Output[str]],
    addresses: AddressPlan,
) -> list[aws.ec2.VpcEndpoint]:
    """An endpoint for each of `INTERFACES` in every zone, open to the VPC and to the hybrid nodes over TLS alone."""
    group = _admits_tls(scope, f"{site}-endpoints", vpc, addresses)
    return [
        aws.ec2.VpcEndpoint(
            f"{site}-{service}",
            vpc_id=vpc.id,
            vpc_endpoint_type="Interface",
            service_name=f"com.amazonaws.{region}.{service}",
            private_dns_enabled=True,
            subnet_ids=list(subnets),
            security_group_ids=[group.id],
            tags=scope.naming.tags(f"{site}-{service}", site),
            opts=scope.child(),
        )
        for service in INTERFACES
    ]


def _admits_tls(scope: Scope, name: str, vpc: aws.ec2.Vpc, addresses: AddressPlan) -> aws.ec2.SecurityGroup:
    group = aws.ec2.SecurityGroup(
        name,
        name=scope.naming.physical(name, 255),
        description="TLS to interface endpoints",
        vpc_id=vpc.id,
        tags=scope.naming.tags(name),
        opts=scope.child(),
    )
    sources = {"vpc": addresses.aws.vpc, "nodes": addresses.openstack.nodes, "pods": addresses.openstack.pods}
    for source, network in sources.items():
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-{source}",
            security_group_id=group.id,
            description=f"TLS from {source}",
            cidr_ipv4=str(network),
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            tags=scope.naming.tags(f"{name}-{source}"),
            opts=scope.child(),
        )
    return group
