"""What Karpenter is told, and what it may do. Pure, but for leaves that are outputs."""

from collections.abc import Mapping
from typing import Any, Final

import pulumi

from infra.access.grants import Statement
from infra.cloud_contracts import AccountContract
from infra.cluster.labels import POOL_LABEL, SITE_LABEL
from infra.cluster.nodes import ROOT_DEVICE
from infra.releases import OFF_HYBRID_NODES

NAMESPACE: Final = "kube-system"
SERVICE_ACCOUNT: Final = "karpenter"
POOL: Final = "elastic"
NODE_CLASS: Final = "elastic"

EVENTS: Final[Mapping[str, tuple[str, str]]] = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
}
"""Source and kind of what Karpenter has to hear of: https://karpenter.sh/docs/reference/cloudformation/"""

_NODEPOOL: Final = "karpenter.sh/nodepool"
_MADE: Final = ("fleet", "instance", "launch-template", "network-interface", "spot-instances-request", "volume")


def values(cluster: pulumi.Input[str], endpoint: pulumi.Input[str], queue: pulumi.Input[str]) -> dict[str, Any]:
    """Values of the chart. The controller stands on nodes that it does not make itself, and on AWS."""
    (term,) = OFF_HYBRID_NODES["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    own = {"key": _NODEPOOL, "operator": "DoesNotExist"}
    return {
        "settings": {"clusterName": cluster, "clusterEndpoint": endpoint, "interruptionQueue": queue},
        "serviceAccount": {"name": SERVICE_ACCOUNT},
        "replicas": 2,
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [own, *term["matchExpressions"]]}]
                }
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]
            },
        },
        "controller": {
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        },
    }


def node_class(
    cluster: str, profile: pulumi.Input[str], group: pulumi.Input[str], tags: Mapping[str, str]
) -> dict[str, Any]:
    """How a node is made: AL2023 in the private subnets, encrypted, out of reach of pods' questions to its metadata.

    The image follows EKS's latest, node after node within the pool's disruption budget: that is how patches arrive.
    """
    return {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": NODE_CLASS},
        "spec": {
            "amiFamily": "AL2023",
            "amiSelectorTerms": [{"alias": "al2023@latest"}],
            "instanceProfile": profile,
            "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": cluster}}],
            "securityGroupSelectorTerms": [{"id": group}],
            "metadataOptions": {
                "httpEndpoint": "enabled",
                "httpProtocolIPv6": "disabled",
                "httpPutResponseHopLimit": 1,
                "httpTokens": "required",
            },
            "blockDeviceMappings": [
                {
                    "deviceName": ROOT_DEVICE,
                    "ebs": {"volumeSize": "100Gi", "volumeType": "gp3", "encrypted": True, "deleteOnTermination": True},
                }
            ],
            "tags": dict(tags),
        },
    }


def node_pool(site: str, vcpus: int) -> dict[str, Any]:
    """CPU nodes as pods need them, `vcpus` at most. GPUs are not among them: the queues count those of fixed pools."""
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {
            "name": POOL,
            # its nodes go first, and it waits for them: none is left behind when controller and cluster go
            "annotations": {"pulumi.com/deletionPropagationPolicy": "foreground"},
        },
        "spec": {
            "template": {
                "metadata": {"labels": {SITE_LABEL: site, POOL_LABEL: POOL}},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": NODE_CLASS},
                    "requirements": [
                        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
                        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand", "spot"]},
                        {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m", "r"]},
                        {"key": "karpenter.k8s.aws/instance-generation", "operator": "Gt", "values": ["5"]},
                    ],
                    "expireAfter": "720h",
                    "terminationGracePeriod": "1h",
                },
            },
            "limits": {"cpu": str(vcpus)},
            "disruption": {
                "consolidationPolicy": "WhenEmptyOrUnderutilized",
                "consolidateAfter": "5m",
                "budgets": [{"nodes": "20%"}],
            },
        },
    }


def queue_policy(queue: str) -> dict[str, Any]:
    """Who may write to the interruption queue, by its ARN: AWS's events, over TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Events",
                "Effect": "Allow",
                "Principal": {"Service": ["events.amazonaws.com", "sqs.amazonaws.com"]},
                "Action": "sqs:SendMessage",
                "Resource": queue,
            },
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": queue,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def rights(
    here: AccountContract,
    cluster: str,
    queue: pulumi.Input[str],
    node_role: pulumi.Input[str],
    profile: pulumi.Input[str],
) -> tuple[Statement, ...]:
    """What the controller may do, from https://karpenter.sh/docs/reference/cloudformation/.

    Less than there: the instance profile is the stack's, so that no pod writes IAM.
    """

    def of_ec2(kind: str, account: pulumi.Input[str] = "*") -> pulumi.Output[str]:
        return pulumi.Output.concat("arn:", here.partition, f":ec2:{here.region}:", account, f":{kind}/*")

    owned = f"kubernetes.io/cluster/{cluster}"
    made = tuple(of_ec2(kind) for kind in _MADE)
    asked = {f"aws:RequestTag/{owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster}
    asked_pool = {f"aws:RequestTag/{_NODEPOOL}": "*"}
    has = {"StringEquals": {f"aws:ResourceTag/{owned}": "owned"}, "StringLike": {f"aws:ResourceTag/{_NODEPOOL}": "*"}}
    start = ("ec2:CreateFleet", "ec2:RunInstances")
    found = (
        of_ec2("image", ""),
        of_ec2("snapshot", ""),
        *(of_ec2(kind) for kind in ("security-group", "subnet", "capacity-reservation")),
    )
    return (
        Statement(start, found),
        Statement(start, (of_ec2("launch-template"),), has),
        Statement((*start, "ec2:CreateLaunchTemplate"), made, {"StringEquals": asked, "StringLike": asked_pool}),
        Statement(
            ("ec2:CreateTags",),
            made,
            {
                "StringEquals": {
                    **asked,
                    "ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"],
                },
                "StringLike": asked_pool,
            },
        ),
        Statement(
            ("ec2:CreateTags",),
            (of_ec2("instance"),),
            {
                **has,
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["Name", "eks:eks-cluster-name", "karpenter.sh/nodeclaim"]
                },
            },
        ),
        Statement(
            ("ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"),
            (of_ec2("instance"), of_ec2("launch-template")),
            has,
        ),
        Statement(
            (
                "ec2:DescribeCapacityReservations",
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypeOfferings",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeInstances",
                "ec2:DescribeLaunchTemplates",
                "ec2:DescribePlacementGroups",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSpotPriceHistory",
                "ec2:DescribeSubnets",
            ),
            ("*",),
            {"StringEquals": {"aws:RequestedRegion": here.region}},
        ),
        Statement(("iam:ListInstanceProfiles", "pricing:GetProducts"), ("*",)),
        Statement(
            ("ssm:GetParameter",),
            (pulumi.Output.concat("arn:", here.partition, f":ssm:{here.region}::parameter/aws/service/*"),),
        ),
        Statement(("iam:GetInstanceProfile",), (profile,)),
        Statement(
            ("iam:PassRole",),
            (node_role,),
            {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}},
        ),
        Statement(
            ("eks:DescribeCluster",),
            (
                pulumi.Output.concat(
                    "arn:", here.partition, f":eks:{here.region}:", here.account_id, f":cluster/{cluster}"
                ),
            ),
        ),
        Statement(("sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"), (queue,)),
    )
