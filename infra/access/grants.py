"""The only writer of IAM policies and of Kubernetes RBAC: roles, and grants to them by intent."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra.access.buckets import Replica, reading, replicating, writing
from infra.access.kubernetes_rules import Rule, kubernetes_cluster_reader, kubernetes_reader, kubernetes_role
from infra.access.statements import Statement, policy
from infra.access.trust import Trust
from infra.cloud_contracts import ClusterContract, RepositoryContract, StoreContract
from infra.scope import Scope
from workloads.spec.errors import UserError

__all__ = [
    "Rule",
    "Statement",
    "Trust",
    "attach_managed",
    "kubernetes_cluster_reader",
    "kubernetes_reader",
    "kubernetes_role",
    "pod_identity",
    "pull_images",
    "read_bucket",
    "read_secret",
    "replicate_bucket",
    "service_role",
    "statements",
    "use_key",
    "write_bucket",
    "write_logs",
]

_ROLE_NAME_LIMIT = 64  # characters, from the IAM quotas

MANAGED = {
    "AmazonEBSCSIDriverPolicy": "service-role/AmazonEBSCSIDriverPolicy",
    "AmazonEC2ContainerRegistryPullOnly": "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKSClusterPolicy": "AmazonEKSClusterPolicy",
    "AmazonEKSVPCResourceController": "AmazonEKSVPCResourceController",
    "AmazonEKSWorkerNodeMinimalPolicy": "AmazonEKSWorkerNodeMinimalPolicy",
    "AmazonEKSWorkerNodePolicy": "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy": "AmazonEKS_CNI_Policy",
    "AmazonSSMManagedInstanceCore": "AmazonSSMManagedInstanceCore",
}
"""Policies of AWS's own that its services demand by name, by path under `iam::aws:policy/`; no other may be attached."""


def service_role(scope: Scope, name: str, trust: Trust) -> aws.iam.Role:
    """A role that nobody but the trusted service can take, without any permission yet."""
    return aws.iam.Role(
        name,
        name=scope.naming.physical(name, _ROLE_NAME_LIMIT),
        assume_role_policy=pulumi.Output.json_dumps(trust.document()),
        tags=scope.naming.tags(name),
        opts=scope.child(),
    )


def statements(scope: Scope, name: str, role: aws.iam.Role, allowed: Sequence[Statement]) -> aws.iam.RolePolicy:
    """An inline policy of statements, for what has no intent of its own here. Raises `UserError` as `Statement` does."""
    return aws.iam.RolePolicy(name, role=role.name, policy=policy(allowed), opts=scope.child())


def attach_managed(
    scope: Scope, name: str, role: aws.iam.Role, *policy_names: str
) -> tuple[aws.iam.RolePolicyAttachment, ...]:
    """Attach policies of AWS's own. Raises `UserError` for one that is not on the list above."""
    unknown = sorted(set(policy_names) - MANAGED.keys())
    if unknown:
        raise UserError(f"managed policies {unknown} may not be attached; use one of {', '.join(sorted(MANAGED))}")
    return tuple(
        aws.iam.RolePolicyAttachment(
            f"{name}-{policy_name}", role=role.name, policy_arn=_managed_arn(role, policy_name), opts=scope.child()
        )
        for policy_name in policy_names
    )


def read_bucket(scope: Scope, name: str, role: aws.iam.Role, store: StoreContract) -> aws.iam.RolePolicy:
    """List a store's bucket, read its objects and decrypt them. Raises `UserError` for a store that is not on AWS."""
    return statements(scope, name, role, reading(store))


def write_bucket(scope: Scope, name: str, role: aws.iam.Role, store: StoreContract) -> aws.iam.RolePolicy:
    """Read as `read_bucket`, put and delete objects; versions stay. Raises `UserError` for a store that is not on AWS."""
    return statements(scope, name, role, writing(store))


def replicate_bucket(
    scope: Scope,
    name: str,
    role: aws.iam.Role,
    source: StoreContract,
    target: Replica,
) -> aws.iam.RolePolicy:
    """Copy a bucket's versions into another region, from its key to that region's."""
    return statements(scope, name, role, replicating(source, target))


def pull_images(
    scope: Scope, name: str, role: aws.iam.Role, repositories: RepositoryContract
) -> aws.iam.RolePolicy | None:
    """Pull from the stack's own repositories; None where it has none."""
    if not repositories.arns:
        return None
    layers = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
    return statements(
        scope,
        name,
        role,
        (
            Statement(("ecr:GetAuthorizationToken",), ("*",)),
            Statement(layers, tuple(repositories.arns[image] for image in sorted(repositories.arns))),
        ),
    )


def read_secret(
    scope: Scope, name: str, role: aws.iam.Role, secret: pulumi.Input[str], key: pulumi.Input[str]
) -> aws.iam.RolePolicy:
    """Read one secret of Secrets Manager, by ARN, and decrypt it with its key."""
    reading = ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue")
    return statements(scope, name, role, (Statement(reading, (secret,)), Statement(("kms:Decrypt",), (key,))))


def use_key(scope: Scope, name: str, role: aws.iam.Role, key: pulumi.Input[str]) -> aws.iam.RolePolicy:
    """Encrypt and decrypt with a key, as a service that stores for the role does."""
    using = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ListGrants")
    return statements(scope, name, role, (Statement(using, (key,)),))


def write_logs(scope: Scope, name: str, role: aws.iam.Role, log_group: pulumi.Output[str]) -> aws.iam.RolePolicy:
    """Write to one log group, by ARN. That it can see that the group is there is what VPC flow logs demand."""
    group = log_group.apply(lambda arn: arn.removesuffix(":*"))
    streams = ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
    groups = group.apply(lambda arn: f"{arn.partition(':log-group:')[0]}:log-group:*")
    return statements(
        scope,
        name,
        role,
        (
            Statement(streams, (group, pulumi.Output.concat(group, ":*"))),
            Statement(("logs:DescribeLogGroups",), (groups,)),
        ),
    )


def pod_identity(
    scope: Scope,
    name: str,
    cluster: ClusterContract,
    namespace: str,
    service_account: str,
    role: aws.iam.Role,
) -> aws.eks.PodIdentityAssociation:
    """Give a service account's pods a role, of trust `Trust.pod(…)` or `Trust.POD_IDENTITY`."""
    return aws.eks.PodIdentityAssociation(
        name,
        cluster_name=cluster.name,
        namespace=namespace,
        service_account=service_account,
        role_arn=role.arn,
        tags=scope.naming.tags(name),
        opts=scope.child(),
    )


def _managed_arn(role: aws.iam.Role, policy_name: str) -> pulumi.Output[str]:
    """The partition is the role's own: `aws`, `aws-cn` or `aws-us-gov`."""
    return role.arn.apply(lambda arn: f"arn:{arn.split(':')[1]}:iam::aws:policy/{MANAGED[policy_name]}")
