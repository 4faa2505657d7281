"""Logs of what passes the network's edges."""

from collections.abc import Mapping

import pulumi_aws as aws

from infra.access import grants
from infra.access.trust import Trust
from infra.cloud_contracts import KeyContract
from infra.scope import Scope


def log_group(scope: Scope, name: str, days: int, keyring: Mapping[str, KeyContract]) -> aws.cloudwatch.LogGroup:
    """A log group under the key for logs, kept `days` days."""
    return aws.cloudwatch.LogGroup(
        name,
        name=f"/{scope.naming.project}/{scope.naming.stack}/{name}",
        retention_in_days=days,
        kms_key_id=keyring["logs"].arn,
        tags=scope.naming.tags(name),
        opts=scope.child(),
    )


def flow_log(
    scope: Scope, name: str, vpc: aws.ec2.Vpc, days: int, keyring: Mapping[str, KeyContract]
) -> aws.ec2.FlowLog:
    """What the VPC admits and rejects, by the minute: ten minutes would hide a scan."""
    group = log_group(scope, name, days, keyring)
    role = grants.service_role(scope, name, Trust.VPC_FLOW_LOGS)
    policy = grants.write_logs(scope, name, role, group.arn)
    return aws.ec2.FlowLog(
        name,
        vpc_id=vpc.id,
        traffic_type="ALL",
        log_destination_type="cloud-watch-logs",
        log_destination=group.arn,
        iam_role_arn=role.arn,
        max_aggregation_interval=60,
        tags=scope.naming.tags(name),
        opts=scope.child(policy),  # the first delivery fails for good while the role may not write
    )
