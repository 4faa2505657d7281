"""The platform's namespaces and what is bounded in them. Pure."""

from collections.abc import Mapping
from typing import Any

from infra.cloud_contracts import NAMESPACES
from infra.cloud_settings import ClusterSettings, ServingSettings
from infra.manifests import Security

Manifest = dict[str, Any]


def security(injected: bool, cluster: ClusterSettings) -> Security:  # noqa: FBT001 - a fact, not an option
    """The Pod Security level of a namespace.

    An Istio whose sidecars redirect traffic by an init container needs NET_ADMIN in each pod, which both `restricted` and
    `baseline` refuse; with its CNI plugin, which this stack installs, pods need nothing:
    https://istio.io/latest/docs/setup/additional-setup/cni/
    """
    return "privileged" if injected and cluster.mesh_init else "restricted"


def quota(space: str, serving: ServingSettings, sites: int) -> Manifest:
    """Doors stay where they are: no namespace opens its own. GPUs of training are Kueue's, those of serving are bounded."""
    training, serving_space, _ = NAMESPACES
    hard = {"services.loadbalancers": "0", "services.nodeports": "0"}
    if space != training:
        # one more at each site while a Deployment rolls
        replicas = (serving.replicas.max + 1) * sites if space == serving_space else 0
        hard["requests.nvidia.com/gpu"] = str(serving.gpus * replicas)
    return _object("ResourceQuota", space, {"hard": hard})


def limits(space: str) -> Manifest:
    """What a container has that says nothing. A limit on memory, as one pod may not take a node's; none on CPU time."""
    default = {
        "type": "Container",
        "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
        "default": {"memory": "512Mi"},
    }
    return _object("LimitRange", space, {"limits": [default]})


def _object(kind: str, space: str, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": "bounds", "namespace": space},
        "spec": dict(spec),
    }
