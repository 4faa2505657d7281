"""What every node of the cluster has in common: taint, disk and how it may ask who it is."""

import re
from collections.abc import Mapping
from typing import Final

import pulumi_aws as aws

GPU_TAINT: Final = ("nvidia.com/gpu", "present", "NoSchedule")
"""Key, value and effect: only what asks for GPUs may stand on their nodes."""

ROOT_DEVICE: Final = "/dev/xvda"
"""Of Amazon Linux 2023."""


def ami_type(instance_type: str, *, gpu: bool) -> str:
    """The AL2023 image that EKS builds for an instance type; of those with a `g` behind the digit, Graviton's."""
    if gpu:
        return "AL2023_x86_64_NVIDIA"
    graviton = re.match(r"^(a1|[a-z]+\d+[a-z]*g[a-z]*)\.", instance_type)
    return "AL2023_ARM_64_STANDARD" if graviton else "AL2023_x86_64_STANDARD"


def root_volume(gib: int) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgs:
    """An encrypted root disk.

    With AWS's own key: a customer key would have to be granted to the service-linked role of Auto Scaling, which no
    stack owns.
    """
    return aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
        device_name=ROOT_DEVICE,
        ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
            volume_size=gib, volume_type="gp3", encrypted="true", delete_on_termination="true"
        ),
    )


def metadata_options() -> aws.ec2.LaunchTemplateMetadataOptionsArgs:
    """The instance metadata service by session tokens alone, out of reach of pods.

    One hop: a pod that is not on the host's network gets no answer, and needs none, since it has Pod Identity. What
    does need the service (nodeadm, the VPC CNI, Pod Identity's agent) is on the host's network.
    """
    return aws.ec2.LaunchTemplateMetadataOptionsArgs(
        http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
    )


def instance_tags(tags: Mapping[str, str]) -> list[aws.ec2.LaunchTemplateTagSpecificationArgs]:
    """Tags of what a launch template makes: they do not come down from the template itself."""
    return [
        aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=dict(tags))
        for kind in ("instance", "volume", "network-interface")
    ]
