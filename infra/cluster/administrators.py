"""Who may do everything in the cluster: principals of AWS by access entries, and nobody by a ConfigMap."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra.cloud_contracts import AccountContract
from infra.scope import Scope

POLICY = "AmazonEKSClusterAdminPolicy"


def admit(
    scope: Scope, cluster: pulumi.Input[str], here: AccountContract, principals: Sequence[str]
) -> tuple[pulumi.Resource, ...]:
    """An entry and its policy for each ARN, over the whole cluster."""
    policy = pulumi.Output.concat("arn:", here.partition, ":eks::aws:cluster-access-policy/", POLICY)
    admitted: list[pulumi.Resource] = []
    for principal in principals:
        name = f"administrator-{entry_name(principal)}"
        entry = aws.eks.AccessEntry(
            name,
            cluster_name=cluster,
            principal_arn=principal,
            type="STANDARD",
            tags=scope.naming.tags(name),
            opts=scope.child(),
        )
        association = aws.eks.AccessPolicyAssociation(
            name,
            cluster_name=cluster,
            principal_arn=principal,
            policy_arn=policy,
            access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            opts=scope.child(entry),  # an association finds its entry by the principal, not by a value
        )
        admitted += [entry, association]
    return tuple(admitted)


def entry_name(principal: str) -> str:
    """A name for an ARN's principal, unlike that of the same name in another account."""
    _, _, _, _, account, resource = principal.split(":", 5)
    return f"{account}-{resource.replace('/', '-')}"
