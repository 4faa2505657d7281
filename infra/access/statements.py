"""What a role may do, one allowance at a time. Pure: an allowance that reaches too far is refused where it is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from workloads.spec.errors import UserError

VERSION = "2012-10-17"
"""Of the IAM policy language."""

WITHOUT_RESOURCE = frozenset(
    {
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeLaunchConfigurations",
        "autoscaling:DescribeScalingActivities",
        "autoscaling:DescribeTags",
        "cloudwatch:PutMetricData",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeCapacityReservations",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceStatus",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribePlacementGroups",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSpotPriceHistory",
        "ec2:DescribeSubnets",
        "ec2:DescribeTags",
        "ec2:DescribeVolumes",
        "ec2:DescribeVpcs",
        "ecr:GetAuthorizationToken",
        "iam:ListInstanceProfiles",
        "pricing:GetProducts",
        "ssm:DescribeInstanceInformation",
    }
)
"""Actions that know no resource level, from AWS's Service Authorization Reference ("Actions, resources, and condition
keys" of each service, rows without a resource type) and, for Karpenter and hybrid nodes, from their own guides."""


@dataclass(frozen=True)
class Statement:
    """An allowance: `actions` on `resources` under `conditions`, whose leaves may be outputs.

    Raises:
        UserError: an action is a pattern, or every resource is meant where the action could name one.
    """

    actions: Sequence[str]
    resources: Sequence[pulumi.Input[str]]
    conditions: Mapping[str, Mapping[str, pulumi.Input[str] | Sequence[pulumi.Input[str]]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        patterns = [action for action in self.actions if "*" in action or "?" in action or ":" not in action]
        if patterns or not self.actions:
            raise UserError(f"a grant of {patterns or 'no action'} reaches too far; name each action, as s3:GetObject")
        if not self.resources:
            raise UserError(f"a grant of {', '.join(self.actions)} has no resource; name what it is on")
        everywhere = "*" in [resource for resource in self.resources if isinstance(resource, str)]
        scopable = sorted(set(self.actions) - WITHOUT_RESOURCE)
        if everywhere and scopable:
            raise UserError(
                f"a grant of {', '.join(scopable)} on every resource reaches too far; name the resources, or put the "
                f"action where {__name__}.WITHOUT_RESOURCE is, if AWS's reference gives it no resource type"
            )

    def rendered(self) -> dict[str, Any]:
        """As IAM writes it; leaves may still be outputs."""
        statement = {"Effect": "Allow", "Action": sorted(self.actions), "Resource": list(self.resources)}
        return {**statement, "Condition": self.conditions} if self.conditions else statement


def policy(statements: Sequence[Statement]) -> pulumi.Output[str]:
    """The policy document of some statements. Raises `UserError` where an output turns out to be every resource."""
    document = {"Version": VERSION, "Statement": [statement.rendered() for statement in statements]}
    return pulumi.Output.from_input(document).apply(_known_to_fit).apply(json.dumps)


def _known_to_fit(document: dict[str, Any]) -> dict[str, Any]:
    for statement in document["Statement"]:
        Statement(statement["Action"], statement["Resource"])
    return document
