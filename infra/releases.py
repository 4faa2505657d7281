"""Helm charts at pinned versions, for the controllers that a cluster does not have already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as kubernetes

from infra.scope import Scope

TIMEOUT_S: Final = 900
"""How long a release may take to become ready: a first node of a group has to start and pull its images."""


@dataclass(frozen=True)
class Chart:
    """A chart at a version. `application` is the version of what it installs, where the chart counts its own way."""

    name: str  # of the release
    repository: str | None  # None: `chart` is a whole OCI reference
    chart: str
    version: str
    namespace: str
    application: str | None = None

    @property
    def installs(self) -> str:
        """The application's version, without a leading `v`."""
        return (self.application or self.version).removeprefix("v")


_ISTIO: Final = "https://istio-release.storage.googleapis.com/charts"
_ISTIO_VERSION: Final = "1.31.4"
_KARPENTER_VERSION: Final = "1.14.1"

CHARTS: Final[Mapping[str, Chart]] = {
    "cert-manager": Chart(
        "cert-manager", None, "oci://quay.io/jetstack/charts/cert-manager", "v1.21.2", "cert-manager"
    ),
    # AWS's own build, the one that it supports on hybrid nodes:
    # https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cni.html
    "cilium": Chart("cilium", None, "oci://public.ecr.aws/eks/cilium/cilium", "1.18.3-0", "kube-system", "1.18.3"),
    "gpu-operator": Chart(
        "gpu-operator", "https://helm.ngc.nvidia.com/nvidia", "gpu-operator", "v26.3.2", "gpu-operator"
    ),
    "istio-base": Chart("istio-base", _ISTIO, "base", _ISTIO_VERSION, "istio-system"),
    "istio-cni": Chart("istio-cni", _ISTIO, "cni", _ISTIO_VERSION, "istio-system"),
    "istiod": Chart("istiod", _ISTIO, "istiod", _ISTIO_VERSION, "istio-system"),
    "istio-gateway": Chart("istio-ingress", _ISTIO, "gateway", _ISTIO_VERSION, "istio-ingress"),
    "jobset": Chart("jobset", None, "oci://registry.k8s.io/jobset/charts/jobset", "0.11.1", "jobset-system"),
    "karpenter": Chart(
        "karpenter", None, "oci://public.ecr.aws/karpenter/karpenter", _KARPENTER_VERSION, "kube-system"
    ),
    "karpenter-crd": Chart(
        "karpenter-crd", None, "oci://public.ecr.aws/karpenter/karpenter-crd", _KARPENTER_VERSION, "kube-system"
    ),
    "keda": Chart("keda", "https://kedacore.github.io/charts", "keda", "2.21.0", "keda"),
    "kueue": Chart("kueue", None, "oci://registry.k8s.io/kueue/charts/kueue", "0.17.0", "kueue-system"),
    "metrics": Chart(
        "metrics-server",
        "https://kubernetes-sigs.github.io/metrics-server/",
        "metrics-server",
        "3.13.0",
        "kube-system",
        "0.8.0",
    ),
    "monitoring": Chart(
        "monitoring",
        "https://prometheus-community.github.io/helm-charts",
        "kube-prometheus-stack",
        "91.5.1",
        "monitoring",
        "0.94.1",
    ),
}
"""By controller, and for Istio and Karpenter by part. Versions are those whose schemas the tests check objects against."""

OFF_HYBRID_NODES: Final[Mapping[str, Any]] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["hybrid"]}
                    ]
                }
            ]
        }
    }
}
"""Affinity of what serves webhooks: the control plane must reach it while the link is down.

https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-webhooks.html
"""


def release(
    scope: Scope, chart: Chart, values: Mapping[str, Any], *after: pulumi.Resource
) -> "kubernetes.helm.v3.Release":  # in quotes: looked up, it imports what a stack may not need
    """The chart installed, whole or not at all."""
    return kubernetes.helm.v3.Release(
        chart.name,
        name=chart.name,
        chart=chart.chart,
        version=chart.version,
        namespace=chart.namespace,
        repository_opts=kubernetes.helm.v3.RepositoryOptsArgs(repo=chart.repository) if chart.repository else None,
        values=dict(values),
        atomic=True,
        cleanup_on_fail=True,
        create_namespace=True,
        max_history=5,
        timeout=TIMEOUT_S,
        opts=scope.child(*after),
    )
