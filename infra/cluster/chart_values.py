"""Values of the controllers' charts. Pure. Whatever serves webhooks stays off hybrid nodes, which a cut link takes away."""

from collections.abc import Sequence
from typing import Any, Final

from infra.cluster.nodes import GPU_TAINT
from infra.releases import OFF_HYBRID_NODES, Chart

_ON_GPU_NODES: Final = {"key": GPU_TAINT[0], "operator": "Exists", "effect": GPU_TAINT[2]}

EFA_CHART: Final = Chart(
    "aws-efa-k8s-device-plugin",
    "https://aws.github.io/eks-charts",
    "aws-efa-k8s-device-plugin",
    "v0.5.20",
    "kube-system",
    "v0.5.13",
)
"""B200's EFA is known to the plugin from 0.5.10 on."""


def cert_manager_values() -> dict[str, Any]:
    """Two of each of its parts, none of them on hybrid nodes; its kinds come with it and stay when it goes."""
    part = {
        "affinity": dict(OFF_HYBRID_NODES),
        "replicaCount": 2,
        "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
    }
    return {
        **part,
        "crds": {"enabled": True, "keep": True},
        "webhook": part,
        "cainjector": part,
        "startupapicheck": {"affinity": dict(OFF_HYBRID_NODES)},
    }


def gpu_operator_values() -> dict[str, Any]:
    """Device plugin, labels and metrics. The driver is the image's own, on both clouds.

    Under containerd on AL2023 the toolkit has to make NVIDIA's runtime the default one:
    https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/getting-started.html
    """
    return {
        "driver": {"enabled": False},
        "toolkit": {"enabled": True, "env": [{"name": "NVIDIA_RUNTIME_SET_AS_DEFAULT", "value": "true"}]},
        "operator": {"affinity": dict(OFF_HYBRID_NODES)},
        "daemonsets": {"tolerations": [_ON_GPU_NODES]},
        "node-feature-discovery": {
            "master": {"affinity": dict(OFF_HYBRID_NODES)},
            "gc": {"affinity": dict(OFF_HYBRID_NODES)},
            "worker": {"tolerations": [_ON_GPU_NODES]},
        },
    }


def efa_values(instance_types: Sequence[str]) -> dict[str, Any]:
    """The EFA device plugin on nodes of these types, whatever its own list of types has come to."""
    return {
        "supportedInstanceLabels": {
            "keys": ["node.kubernetes.io/instance-type"],
            "values": sorted(set(instance_types)),
        },
        "tolerations": [_ON_GPU_NODES],
    }


def jobset_values() -> dict[str, Any]:
    """JobSet's controller, which serves webhooks."""
    return {"controller": {"replicas": 2, "affinity": dict(OFF_HYBRID_NODES)}}


def keda_values() -> dict[str, Any]:
    """KEDA's operator, metrics server and webhooks, all under one affinity."""
    return {
        "affinity": dict(OFF_HYBRID_NODES),
        "operator": {"replicaCount": 2},
        "podDisruptionBudget": {"operator": {"minAvailable": 1}},
    }


def metrics_values() -> dict[str, Any]:
    """The metrics server, near the API server that asks it."""
    return {
        "replicas": 2,
        "affinity": dict(OFF_HYBRID_NODES),
        "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
    }
