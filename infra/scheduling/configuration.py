"""How Kueue's controller is configured: its chart's values. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import yaml

CONFIGURATION: Final[Mapping[str, Any]] = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443", "enableClusterQueueResources": True},
    "webhook": {"port": 9443},
    "leaderElection": {"leaderElect": True, "resourceName": "c1f6bfd2.kueue.x-k8s.io"},
    # a run of which one site's pods cannot start (an image, a volume, a node that is not there) gives its GPUs back
    "waitForPodsReady": {
        "timeout": "15m",
        "recoveryTimeout": "10m",
        "blockAdmission": False,
        "requeuingStrategy": {"timestamp": "Eviction", "backoffBaseSeconds": 60, "backoffMaxSeconds": 3600},
    },
    # jobs of others in a shared cluster are none of ours
    "manageJobsWithoutQueueName": False,
    "integrations": {"frameworks": ["batch/job", "jobset.x-k8s.io/jobset"]},
    "fairSharing": {"preemptionStrategies": ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]},
    # the queues count neither: a pod that asks for them would else wait for ever. EFA needs huge pages:
    # https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html
    "resources": {"excludeResourcePrefixes": ["ephemeral-storage", "hugepages-"]},
}
"""https://kueue.sigs.k8s.io/docs/reference/kueue-config.v1beta2/"""


def kueue_values(node_selector: Mapping[str, str]) -> dict[str, Any]:
    """Values of Kueue's chart, which knows no affinity: a selector says on which nodes its webhooks are served."""
    return {
        "controllerManager": {
            "replicas": 2,
            "nodeSelector": dict(node_selector),
            "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
        },
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(dict(CONFIGURATION), sort_keys=False)},
    }
