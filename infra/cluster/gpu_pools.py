"""Nodes with GPUs on AWS: a managed node group a pool, of whatever capacity the stack has."""

from dataclasses import replace

import pulumi
import pulumi_aws as aws

from infra.cloud_contracts import AwsNetworkContract, ClusterContract, PoolContract
from infra.cloud_settings import GpuPool
from infra.cluster import huge_pages
from infra.cluster.catalogue import InstanceFacts, efa_interfaces, instance_facts
from infra.cluster.interfaces import Interface, efa_layout
from infra.cluster.labels import node_labels
from infra.cluster.nodes import (
    GPU_TAINT,
    ami_type,
    instance_tags,
    metadata_options,
    root_volume,
)
from infra.cluster.pools import aws_pool
from infra.scope import Scope
from infra.settings import Settings

CAPACITY_TYPES = {
    "on-demand": "ON_DEMAND",
    "spot": "SPOT",
    "reservation": "ON_DEMAND",  # the launch template targets it
    "capacity-block": "CAPACITY_BLOCK",
}


def pools(
    scope: Scope, settings: Settings, aws_side: AwsNetworkContract, cluster: ClusterContract
) -> tuple[PoolContract, ...]:
    """A contract a pool.

    Raises:
        UserError: an instance type is unknown or has no EFA.
    """
    site, values = settings.aws_site
    if not values.gpu_pools:
        return ()
    scope = scope.component("GpuPools", f"{site.name}-gpu-pools")
    return tuple(
        _Pool(scope, site.name, values.region, aws_side, cluster, pool).declared() for pool in values.gpu_pools
    )


class _Pool:
    """One pool on its way from settings to a contract."""

    def __init__(
        self,
        scope: Scope,
        site: str,
        region: str,
        aws_side: AwsNetworkContract,
        cluster: ClusterContract,
        pool: GpuPool,
    ) -> None:
        self.scope, self.site, self.region = scope, site, region
        self.network, self.cluster, self.pool = aws_side, cluster, pool
        self.name = f"{site}-{pool.name}"
        self.facts: InstanceFacts = instance_facts(pool.name, pool.instance_type)
        self.efa = efa_interfaces(pool.name, self.facts) if pool.efa else 0
        self.tags = scope.naming.tags(self.name, site)

    def declared(self) -> PoolContract:
        facts = aws_pool(self.site, self.region, self.pool)
        group = self._node_group(self._template(), node_labels(self.site, self.pool.name))
        return replace(facts, ready=(group,))

    def _subnets(self) -> list[pulumi.Output[str]]:
        """One zone's where nodes must be near each other or a reservation lies in one; else all, for the better chance."""
        reserved = self.pool.reservation is not None
        if self.pool.placement_group or reserved:
            return [self.network.private_subnets[self.pool.zone]]
        return list(self.network.private_subnets)

    def _template(self) -> aws.ec2.LaunchTemplate:
        block = self.pool.capacity == "capacity-block"
        interfaces = efa_layout(self.efa) if self.efa else ()
        fabric = self._fabric() if interfaces else None
        return aws.ec2.LaunchTemplate(
            self.name,
            name=self.scope.naming.physical(self.name, 128),
            block_device_mappings=[root_volume(self.pool.volume_gib)],
            metadata_options=metadata_options(),
            capacity_reservation_specification=self._reservation(),
            # of a capacity block, type and market stand here and nowhere else:
            # https://docs.aws.amazon.com/eks/latest/userguide/capacity-blocks-mng.html
            instance_type=self.pool.instance_type if block else None,
            instance_market_options=aws.ec2.LaunchTemplateInstanceMarketOptionsArgs(market_type="capacity-block")
            if block
            else None,
            network_interfaces=[self._interface(each, fabric) for each in interfaces] if fabric else None,
            user_data=huge_pages.user_data() if fabric else None,
            placement=self._placement(),
            tag_specifications=instance_tags(self.tags),
            update_default_version=True,
            tags=self.tags,
            opts=self.scope.child(),
        )

    def _node_group(self, template: aws.ec2.LaunchTemplate, labels: dict[str, str]) -> aws.eks.NodeGroup:
        key, value, _ = GPU_TAINT
        reserved = self.pool.reservation is not None
        options = self.scope.child(*self.cluster.ready)  # without CNI a node never becomes ready
        options.ignore_changes = ["scalingConfig.desiredSize"]  # whoever scales the pool owns its size once it is there
        return aws.eks.NodeGroup(
            self.name,
            cluster_name=self.cluster.name,
            node_group_name=self.scope.naming.physical(self.name, 63),
            node_role_arn=self.cluster.node_role_arn,
            subnet_ids=self._subnets(),
            ami_type=ami_type(self.pool.instance_type, gpu=True),
            capacity_type=CAPACITY_TYPES[self.pool.capacity],
            instance_types=None if self.pool.capacity == "capacity-block" else [self.pool.instance_type],
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=self.pool.nodes.min, desired_size=self.pool.nodes.desired, max_size=self.pool.nodes.max
            ),
            # where no node is left over, the old one goes before the new one comes
            update_config=aws.eks.NodeGroupUpdateConfigArgs(
                max_unavailable=1, update_strategy="MINIMAL" if reserved else "DEFAULT"
            ),
            labels=labels,
            taints=[aws.eks.NodeGroupTaintArgs(key=key, value=value, effect="NO_SCHEDULE")],
            tags=self.tags,
            opts=options,
        )

    def _reservation(self) -> aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs | None:
        if self.pool.reservation is None:
            return None
        return aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs(
            capacity_reservation_target=aws.ec2.LaunchTemplateCapacityReservationSpecificationCapacityReservationTargetArgs(
                capacity_reservation_id=self.pool.reservation
            )
        )

    def _placement(self) -> aws.ec2.LaunchTemplatePlacementArgs | None:
        if not self.pool.placement_group:
            return None
        group = aws.ec2.PlacementGroup(
            self.name,
            name=self.scope.naming.physical(self.name, 255),
            strategy="cluster",
            tags=self.tags,
            opts=self.scope.child(),
        )
        return aws.ec2.LaunchTemplatePlacementArgs(group_name=group.name)

    def _fabric(self) -> aws.ec2.SecurityGroup:
        """EFA needs everything allowed from and to the group itself; a rule for all addresses does not count as that.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html
        """
        name = f"{self.name}-efa"
        tags = self.scope.naming.tags(name, self.site)
        group = aws.ec2.SecurityGroup(
            name,
            name=self.scope.naming.physical(name, 255),
            description=f"EFA among nodes of pool {self.pool.name}",
            vpc_id=self.network.vpc_id,
            tags=tags,
            opts=self.scope.child(),
        )
        for rule in (aws.vpc.SecurityGroupIngressRule, aws.vpc.SecurityGroupEgressRule):
            rule(
                name,
                security_group_id=group.id,
                referenced_security_group_id=group.id,
                ip_protocol="-1",
                description="EFA among the pool's nodes",
                tags=tags,
                opts=self.scope.child(),
            )
        return group

    def _interface(
        self, interface: Interface, fabric: aws.ec2.SecurityGroup
    ) -> aws.ec2.LaunchTemplateNetworkInterfaceArgs:
        """A template with interfaces gets no group from EKS, so the cluster's is named where there is an address."""
        groups = [self.cluster.security_group, fabric.id] if interface.has_address else [fabric.id]
        return aws.ec2.LaunchTemplateNetworkInterfaceArgs(
            network_card_index=interface.card,
            device_index=interface.device,
            interface_type=interface.kind,
            security_groups=groups,
            delete_on_termination="true",
        )
