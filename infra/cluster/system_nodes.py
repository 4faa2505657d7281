"""The nodes that carry controllers and webhooks: on AWS, without taint, over all zones."""

import pulumi
import pulumi_aws as aws

from infra.access import grants
from infra.cloud_contracts import AwsNetworkContract, ClusterContract
from infra.cloud_settings import SYSTEM_POOL
from infra.cluster.labels import node_labels
from infra.cluster.nodes import ami_type, instance_tags, metadata_options, root_volume
from infra.scope import Scope
from infra.settings import Settings

_ROOT_GIB = 100  # images of all controllers, and the logs of their pods
_RIGHTS = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonSSMManagedInstanceCore")
"""To join, to pull, and to be logged into by Session Manager: no SSH port, no key."""


def system_nodes(
    scope: Scope,
    settings: Settings,
    aws_side: AwsNetworkContract,
    cluster: ClusterContract,
    role: aws.iam.Role,
    *after: pulumi.Resource,
) -> aws.eks.NodeGroup:
    """A managed node group. `after` is what a node needs to become ready."""
    site, values = settings.aws_site
    wanted = values.system
    name = f"{site.name}-{SYSTEM_POOL}"
    tags = scope.naming.tags(name, site.name)
    rights = grants.attach_managed(scope, f"{site.name}-nodes", role, *_RIGHTS)
    template = aws.ec2.LaunchTemplate(
        name,
        name=scope.naming.physical(name, 128),
        block_device_mappings=[root_volume(_ROOT_GIB)],
        metadata_options=metadata_options(),
        tag_specifications=instance_tags(tags),
        update_default_version=True,
        # the security group is the cluster's: EKS adds it where a template names none
        tags=tags,
        opts=scope.child(),
    )
    options = scope.child(*after, *rights)
    options.ignore_changes = ["scalingConfig.desiredSize"]  # whoever scales the group owns its size once it is there
    return aws.eks.NodeGroup(
        name,
        cluster_name=cluster.name,
        node_group_name=scope.naming.physical(name, 63),
        node_role_arn=role.arn,
        subnet_ids=list(aws_side.private_subnets),
        ami_type=ami_type(wanted.instance_type, gpu=False),
        capacity_type="ON_DEMAND",
        instance_types=[wanted.instance_type],
        launch_template=aws.eks.NodeGroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(str)),
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(
            min_size=wanted.nodes.min, desired_size=wanted.nodes.desired, max_size=wanted.nodes.max
        ),
        update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
        labels=node_labels(site.name, SYSTEM_POOL),
        tags=tags,
        opts=options,
    )
