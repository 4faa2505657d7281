"""Who hybrid nodes are to AWS: a role, and either certificates for IAM Roles Anywhere or an activation of SSM."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.access import grants
from infra.cloud_contracts import AccountContract, ClusterContract
from infra.local.keys import CertificateAuthority
from infra.scope import Scope

ACTIVATIONS = 1000
"""Registrations that one activation may have, from the SSM API's `CreateActivation`."""


@dataclass(frozen=True)
class Anywhere:
    """IAM Roles Anywhere: the authority that vouches for nodes, and what nodes name to get the role."""

    authority: CertificateAuthority
    anchor_arn: pulumi.Output[str]
    profile_arn: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class Activated:
    """An SSM hybrid activation, shown once and used at a node's first boot."""

    activation_id: pulumi.Output[str]
    code: pulumi.Output[str]  # secret
    ready: tuple[pulumi.Resource, ...]


def anywhere(scope: Scope, site: str, here: AccountContract, cluster: ClusterContract) -> Anywhere:
    """A private authority of the stack's own, trusted for the nodes' role alone.

    A node gets credentials within seconds of being up, and recovers as fast. The authority's key is in the stack's state,
    as a secret: whoever reads that can name nodes, and nothing else, since the role can do no more than a node must.
    """
    name = f"{site}-hybrid"
    authority = CertificateAuthority(
        f"{name}-authority", scope.keeper(), common_name=f"{scope.naming.prefix} hybrid nodes"
    )
    anchor = aws.rolesanywhere.TrustAnchor(
        name,
        name=scope.naming.physical(name, 255),
        enabled=True,
        source=aws.rolesanywhere.TrustAnchorSourceArgs(
            source_type="CERTIFICATE_BUNDLE",
            source_data=aws.rolesanywhere.TrustAnchorSourceSourceDataArgs(
                x509_certificate_data=authority.output("ca_pem")
            ),
        ),
        tags=scope.naming.tags(name, site),
        opts=scope.child(),
    )
    role = grants.service_role(scope, name, grants.Trust.roles_anywhere(anchor.arn))
    rights = _rights(scope, name, role, here)
    profile = aws.rolesanywhere.Profile(
        name,
        name=scope.naming.physical(name, 255),
        enabled=True,
        role_arns=[role.arn],
        accept_role_session_name=True,  # a node's session bears its name
        tags=scope.naming.tags(name, site),
        opts=scope.child(),
    )
    entry = _entry(scope, name, cluster, role)
    return Anywhere(authority, anchor.arn, profile.arn, role.arn, (*rights, entry))


def activated(scope: Scope, site: str, here: AccountContract, cluster: ClusterContract, servers: int) -> Activated:
    """An activation for that many servers, which lives 24 hours.

    It cannot be imported, and a server made later needs another: `pulumi up --replace` of it mints one.
    """
    name = f"{site}-hybrid"
    role = grants.service_role(scope, name, grants.Trust.SSM.of_account(here.account_id))
    tag = {"isthmus-cluster": scope.naming.prefix}
    rights = (
        *_rights(scope, name, role, here),
        *grants.attach_managed(scope, name, role, "AmazonSSMManagedInstanceCore"),
        # for `nodeadm uninstall`: https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-creds.html
        grants.statements(
            scope,
            f"{name}-leave",
            role,
            (
                grants.Statement(("ssm:DescribeInstanceInformation",), ("*",)),
                grants.Statement(
                    ("ssm:DeregisterManagedInstance",),
                    (
                        pulumi.Output.concat(
                            "arn:", here.partition, f":ssm:{here.region}:", here.account_id, ":managed-instance/*"
                        ),
                    ),
                    {"StringEquals": {f"ssm:resourceTag/{key}": value for key, value in tag.items()}},
                ),
            ),
        ),
    )
    activation = aws.ssm.Activation(
        name,
        name=scope.naming.physical(name, 256),
        description=f"hybrid nodes of {scope.naming.prefix}",
        iam_role=role.name,  # a name: an ARN is refused
        registration_limit=min(servers, ACTIVATIONS),
        tags={**scope.naming.tags(name, site), **tag},
        opts=scope.child(*rights),  # SSM refuses a role that it may not take yet
    )
    entry = _entry(scope, name, cluster, role)
    return Activated(activation.id, pulumi.Output.secret(activation.activation_code), (*rights, entry))


def _rights(scope: Scope, name: str, role: aws.iam.Role, here: AccountContract) -> tuple[pulumi.Resource, ...]:
    """What any hybrid node does: ask where the cluster is, pull images, and vouch for its pods' identities."""
    cluster = pulumi.Output.concat(
        "arn:", here.partition, f":eks:{here.region}:", here.account_id, f":cluster/{scope.naming.prefix}"
    )
    return (
        *grants.attach_managed(scope, name, role, "AmazonEC2ContainerRegistryPullOnly"),
        grants.statements(
            scope,
            f"{name}-join",
            role,
            (grants.Statement(("eks:DescribeCluster", "eks-auth:AssumeRoleForPodIdentity"), (cluster,)),),
        ),
    )


def _entry(scope: Scope, name: str, cluster: ClusterContract, role: aws.iam.Role) -> aws.eks.AccessEntry:
    """Lets holders of the role be nodes; EKS fixes what that means."""
    return aws.eks.AccessEntry(
        name,
        cluster_name=cluster.name,
        principal_arn=role.arn,
        type="HYBRID_LINUX",
        tags=scope.naming.tags(name),
        opts=scope.child(),
    )
