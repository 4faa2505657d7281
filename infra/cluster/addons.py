"""EKS's own add-ons: what a node needs before its first pod, and what pods need before they are of use."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.releases import OFF_HYBRID_NODES
from infra.scope import Scope

VERSIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "1.34": {
        # kube-proxy's from the EKS user guide, "Manage kube-proxy"; the others from `aws eks describe-addon-versions
        # --kubernetes-version 1.34` as public configurations for that version cite it
        "aws-ebs-csi-driver": "v1.54.0-eksbuild.1",
        "coredns": "v1.12.4-eksbuild.1",
        "eks-pod-identity-agent": "v1.3.10-eksbuild.2",
        "kube-proxy": "v1.34.1-eksbuild.2",
        "vpc-cni": "v1.21.1-eksbuild.1",
    }
}
"""By Kubernetes version and add-on. For a version that is not here EKS takes its own default, which the preview shows as
a version that is not known yet; pin it by adding a line."""

BEFORE_NODES: Final = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""DaemonSets, ready with no node there; a node that finds no CNI never becomes ready."""

AFTER_NODES: Final = ("coredns", "aws-ebs-csi-driver")
"""Deployments: they wait for a node to stand on."""

EBS_SERVICE_ACCOUNT: Final = "ebs-csi-controller-sa"
CNI_SERVICE_ACCOUNT: Final = "aws-node"


def version_of(addon: str, kubernetes: str) -> str | None:
    """The pinned version; None: EKS's default for that Kubernetes version."""
    return VERSIONS.get(kubernetes, {}).get(addon)


def configuration(addon: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Configuration values of an add-on, by its published schema (`aws eks describe-addon-configuration`)."""
    values: dict[str, dict[str, Any]] = {
        "vpc-cni": {
            # hybrid nodes have Cilium: https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cni.html
            "affinity": dict(OFF_HYBRID_NODES),
            # without it NetworkPolicies are accepted and nobody enforces them
            "enableNetworkPolicy": "true",
            # a pod keeps its address towards the other site, whose policies and routes go by it; NAT gateways translate
            # what leaves for the internet: https://docs.aws.amazon.com/eks/latest/userguide/external-snat.html
            "env": {"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true", "ENABLE_PREFIX_DELEGATION": "true"},
        },
        "kube-proxy": {},
        # the second DaemonSet is for nodes without instance metadata:
        # https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-add-ons.html
        "eks-pod-identity-agent": {"daemonsets": {"hybrid": {"create": True}}},
        "coredns": {
            # these two stand on AWS in different zones; the other side's replica is a Deployment of its own
            "replicaCount": 2,
            "affinity": dict(OFF_HYBRID_NODES),
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }
            ],
        },
        "aws-ebs-csi-driver": {
            # its DaemonSet stays off hybrid nodes by itself
            "controller": {"affinity": dict(OFF_HYBRID_NODES), "extraVolumeTags": dict(tags)},
        },
    }
    return values[addon]


def addon(
    scope: Scope, site: str, name: str, cluster: pulumi.Input[str], kubernetes: str, *after: pulumi.Resource
) -> aws.eks.Addon:
    """One add-on. The stack's configuration wins over whatever stands in the cluster."""
    tags = scope.naming.tags(name, site)
    values = configuration(name, tags)
    return aws.eks.Addon(
        f"{site}-{name}",
        cluster_name=cluster,
        addon_name=name,
        addon_version=version_of(name, kubernetes),
        configuration_values=json.dumps(values, sort_keys=True) if values else None,
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        tags=tags,
        opts=scope.child(*after),
    )
