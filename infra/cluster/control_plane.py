"""EKS with room for hybrid nodes, its system nodes and add-ons, and the way into the cluster."""

import dataclasses
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from infra.access import grants
from infra.addressing import AddressPlan
from infra.cloud_contracts import (
    AccountContract,
    AwsNetworkContract,
    ClusterContract,
    KeyContract,
    OpenStackNetworkContract,
)
from infra.cluster import addons, administrators, firewall, kubeconfig, system_nodes
from infra.scope import Scope
from infra.settings import Settings

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""All that the control plane can write."""


def cluster(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    here: AccountContract,
    aws_side: AwsNetworkContract,
    openstack_side: OpenStackNetworkContract,
    keyring: Mapping[str, KeyContract],
) -> ClusterContract:
    """The control plane, ready for pods on AWS; nodes with GPUs come later."""
    site, values = settings.aws_site
    wanted = settings.of_cloud.cluster
    scope = scope.component("ControlPlane", f"{site.name}-cluster")
    role = grants.service_role(scope, f"{site.name}-cluster", grants.Trust.EKS)
    rights = (
        *grants.attach_managed(scope, f"{site.name}-cluster", role, "AmazonEKSClusterPolicy"),
        grants.use_key(scope, f"{site.name}-cluster-secrets", role, keyring["cluster"].arn),
    )
    logs = _logs(scope, site.name, values.log_days, keyring["logs"])
    plane = aws.eks.Cluster(
        f"{site.name}-cluster",
        name=scope.naming.prefix,
        role_arn=role.arn,
        version=wanted.version,
        access_config=_access(wanted.administrators),
        # the add-ons below are the only ones, so that none is there unmanaged
        bootstrap_self_managed_addons=False,
        deletion_protection=scope.protect,
        enabled_cluster_log_types=list(LOG_TYPES),
        encryption_config=aws.eks.ClusterEncryptionConfigArgs(
            provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=keyring["cluster"].arn),
            resources=["secrets"],
        ),
        kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(
            ip_family="ipv4", service_ipv4_cidr=str(addresses.services)
        ),
        remote_network_config=_remote(addresses),
        upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
        vpc_config=_endpoint(wanted.public_access, aws_side, openstack_side),
        tags=scope.naming.tags("cluster", site.name),
        opts=scope.keeper(
            # it would make the log group itself, without key and retention, and start without rights
            logs,
            *rights,
            *aws_side.ready,
            # who made the cluster was let in then or was not: to change it is to replace the cluster
            ignore_changes=["accessConfig.bootstrapClusterCreatorAdminPermissions"],
        ),
    )
    group = plane.vpc_config.apply(lambda known: str(known.cluster_security_group_id))
    rules = firewall.admit(scope, site.name, group, addresses)
    admitted = administrators.admit(scope, plane.name, here, wanted.administrators)
    nodes = grants.service_role(scope, f"{site.name}-nodes", grants.Trust.EC2)
    contract = ClusterContract(
        name=plane.name,
        endpoint=plane.endpoint,
        version=wanted.version,
        security_group=group,
        node_role_arn=nodes.arn,
        provider=_provider(scope, plane, values.region, wanted.kubeconfig, admitted),
        ready=(),
    )
    base = [addons.addon(scope, site.name, name, plane.name, wanted.version, *rights) for name in addons.BEFORE_NODES]
    cni = _identity(scope, f"{site.name}-cni", contract, addons.CNI_SERVICE_ACCOUNT, "AmazonEKS_CNI_Policy")
    system = system_nodes.system_nodes(scope, settings, aws_side, contract, nodes, *base, *cni, *rules)
    ebs = _identity(scope, f"{site.name}-ebs", contract, addons.EBS_SERVICE_ACCOUNT, "AmazonEBSCSIDriverPolicy")
    rest = [
        addons.addon(scope, site.name, name, plane.name, wanted.version, system, *ebs) for name in addons.AFTER_NODES
    ]
    return dataclasses.replace(contract, ready=(system, *base, *rest, *rules, *admitted))


def _logs(scope: Scope, site: str, days: int, key: KeyContract) -> aws.cloudwatch.LogGroup:
    """Where EKS writes to, by a name that it fixes."""
    return aws.cloudwatch.LogGroup(
        f"{site}-cluster",
        name=f"/aws/eks/{scope.naming.prefix}/cluster",
        kms_key_id=key.arn,
        retention_in_days=days,
        tags=scope.naming.tags("cluster-logs", site),
        opts=scope.keeper(),
    )


def _access(named: Sequence[str]) -> aws.eks.ClusterAccessConfigArgs:
    """Access entries alone. Where nobody is named, whoever applies the stack has to be let in, or nothing could be made."""
    return aws.eks.ClusterAccessConfigArgs(
        authentication_mode="API", bootstrap_cluster_creator_admin_permissions=not named
    )


def _remote(addresses: AddressPlan) -> aws.eks.ClusterRemoteNetworkConfigArgs:
    """The other site's ranges: at most 15 a list, RFC 1918, as the EKS guide on hybrid nodes has it."""
    here = addresses.openstack
    return aws.eks.ClusterRemoteNetworkConfigArgs(
        remote_node_networks=aws.eks.ClusterRemoteNetworkConfigRemoteNodeNetworksArgs(cidrs=[str(here.nodes)]),
        remote_pod_networks=aws.eks.ClusterRemoteNetworkConfigRemotePodNetworksArgs(cidrs=[str(here.pods)]),
    )


def _endpoint(
    public: Sequence[IPv4Network], aws_side: AwsNetworkContract, openstack_side: OpenStackNetworkContract
) -> aws.eks.ClusterVpcConfigArgs:
    """Private or public, never both: with both, hybrid nodes resolve the public addresses whatever they are routed to.

    https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cluster-prep.html. A public endpoint is seen by nodes
    from outside too, so their own addresses there are let in beside those that the stack names.
    """
    outside = (*aws_side.nat_addresses, openstack_side.outside_address) if public else ()
    return aws.eks.ClusterVpcConfigArgs(
        subnet_ids=list(aws_side.intra_subnets),
        endpoint_private_access=not public,
        endpoint_public_access=bool(public),
        public_access_cidrs=[*map(str, public), *(pulumi.Output.concat(address, "/32") for address in outside)] or None,
    )


def _provider(
    scope: Scope,
    plane: aws.eks.Cluster,
    region: str,
    given: str | None,
    admitted: Sequence[pulumi.Resource],
) -> kubernetes.Provider:
    """The way into the cluster: the one that the stack gives, or EKS's by a command that asks for a token each time."""
    own = pulumi.Output.all(plane.name, plane.endpoint, plane.certificate_authority.data).apply(
        lambda known: kubeconfig.render(str(known[0]), str(known[1]), str(known[2]), region)
    )
    return kubernetes.Provider(
        "kubernetes",
        kubeconfig=own if given is None else kubeconfig.given(given),
        # who applies the stack may have to be let in first
        opts=scope.child(*admitted),
    )


def _identity(
    scope: Scope, name: str, cluster: ClusterContract, service_account: str, policy: str
) -> tuple[pulumi.Resource, ...]:
    """An add-on's role, by Pod Identity: the nodes' own role then needs no such right."""
    role = grants.service_role(scope, name, grants.Trust.pod("kube-system", service_account))
    attached = grants.attach_managed(scope, name, role, policy)
    return (*attached, grants.pod_identity(scope, name, cluster, "kube-system", service_account, role))
