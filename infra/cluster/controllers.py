"""What a cluster needs beside Kubernetes itself: installed by the stack, unless the cluster has it already."""

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra.addressing import AddressPlan
from infra.cloud_contracts import ClusterContract, ControllersContract
from infra.cloud_settings import SYSTEM_POOL
from infra.cluster import chart_values, hybrid_network, karpenter
from infra.cluster.labels import POOL_LABEL
from infra.manifests import apply
from infra.releases import CHARTS, release
from infra.scheduling.configuration import kueue_values
from infra.scope import Scope
from infra.settings import Settings

PLAIN: Mapping[str, Callable[[], dict[str, Any]]] = {
    "cert-manager": chart_values.cert_manager_values,
    "gpu-operator": chart_values.gpu_operator_values,
    "jobset": chart_values.jobset_values,
    "keda": chart_values.keda_values,
    "kueue": lambda: kueue_values({POOL_LABEL: SYSTEM_POOL}),
    "metrics": chart_values.metrics_values,
}
"""Controllers that are their chart and nothing else. Istio's and the monitoring's come with their own components."""


def install(scope: Scope, settings: Settings, addresses: AddressPlan, cluster: ClusterContract) -> ControllersContract:
    """Whatever `cloud.cluster.installed` does not name."""
    scope = scope.component("Controllers", "controllers")
    wanted = settings.of_cloud.cluster
    releases = {
        name: release(scope, CHARTS[name], values(), *cluster.ready)
        for name, values in PLAIN.items()
        if name not in wanted.installed
    }
    ready: list[pulumi.Resource] = [*releases.values()]
    efa = [pool.instance_type for pool in settings.aws_site[1].gpu_pools if pool.efa]
    if efa and "gpu-operator" not in wanted.installed:
        ready.append(release(scope, chart_values.EFA_CHART, chart_values.efa_values(efa), *cluster.ready))
    if "cilium" not in wanted.installed:
        ready += hybrid_network.install(scope, settings, addresses, cluster)
    if "karpenter" not in wanted.installed:
        ready += karpenter.install(scope, settings, cluster)
    if wanted.kubeconfig is None:
        ready += _of_eks(scope, cluster)
    return ControllersContract(ready=tuple(ready) or cluster.ready)


def _of_eks(scope: Scope, cluster: ClusterContract) -> tuple[pulumi.Resource, ...]:
    """What only EKS's own add-ons need: a class of encrypted disks, and DNS that asks the nearest replica first."""
    disks = apply(scope, "encrypted-disks", storage_class(keep=scope.protect), *cluster.ready)
    dns = kubernetes.core.v1.ServicePatch(
        "kube-dns",
        metadata=kubernetes.meta.v1.ObjectMetaPatchArgs(name="kube-dns", namespace="kube-system"),
        # https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-webhooks.html, "Configure CoreDNS replicas"
        spec=kubernetes.core.v1.ServiceSpecPatchArgs(traffic_distribution="PreferClose"),
        opts=scope.child(*cluster.ready),
    )
    return (disks, dns)


def storage_class(*, keep: bool) -> dict[str, Any]:
    """The class that claims get which name none: made in the zone of the pod, and kept after its claim if `keep`."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "encrypted",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3", "encrypted": "true"},
        "reclaimPolicy": "Retain" if keep else "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }
