"""Kubernetes objects as plain mappings, and their way into the cluster."""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from infra.scope import Scope
from infra.settings import PROJECT

Manifest = Mapping[str, Any]
"""A Kubernetes object as its YAML would be; leaf values may be Outputs, names and namespaces are plain text."""

Security = Literal["restricted", "baseline", "privileged"]
"""A level of the Pod Security Standards."""

# By path and not by class: whoever names a class imports its group, and no stack uses all.
_TYPED: Final[Mapping[tuple[str, str], str]] = {
    ("v1", "ConfigMap"): "core.v1.ConfigMap",
    ("v1", "LimitRange"): "core.v1.LimitRange",
    ("v1", "Namespace"): "core.v1.Namespace",
    ("v1", "PersistentVolumeClaim"): "core.v1.PersistentVolumeClaim",
    ("v1", "ResourceQuota"): "core.v1.ResourceQuota",
    ("v1", "Secret"): "core.v1.Secret",
    ("v1", "Service"): "core.v1.Service",
    ("v1", "ServiceAccount"): "core.v1.ServiceAccount",
    ("apps/v1", "DaemonSet"): "apps.v1.DaemonSet",
    ("apps/v1", "Deployment"): "apps.v1.Deployment",
    ("apps/v1", "StatefulSet"): "apps.v1.StatefulSet",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling.v2.HorizontalPodAutoscaler",
    ("batch/v1", "CronJob"): "batch.v1.CronJob",
    ("batch/v1", "Job"): "batch.v1.Job",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networking.v1.NetworkPolicy",
    ("policy/v1", "PodDisruptionBudget"): "policy.v1.PodDisruptionBudget",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "rbac.v1.ClusterRole",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "rbac.v1.ClusterRoleBinding",
    ("rbac.authorization.k8s.io/v1", "Role"): "rbac.v1.Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rbac.v1.RoleBinding",
    ("scheduling.k8s.io/v1", "PriorityClass"): "scheduling.v1.PriorityClass",
    ("storage.k8s.io/v1", "StorageClass"): "storage.v1.StorageClass",
}


class Custom(pulumi.CustomResource):
    """An object of a kind that the SDK has no class for.

    The SDK's own `apiextensions.CustomResource` takes nothing beside `metadata` and `spec`, and some kinds (Kueue's
    priority classes) have neither; the engine sees the same type either way.
    """

    def __init__(self, name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> None:
        super().__init__(f"kubernetes:{manifest['apiVersion']}:{manifest['kind']}", name, dict(manifest), opts)


def apply(
    scope: Scope, name: str, manifest: Manifest, *after: pulumi.Resource, ignore: Sequence[str] = ()
) -> pulumi.Resource:
    """The object in the cluster, with the platform's labels. `after` orders what no value connects.

    `name` is its name in the stack. `ignore` lists what another writer owns: the count that an autoscaler sets.
    """
    opts = scope.child(*after)
    opts.ignore_changes = list(ignore) or None
    whole = labelled(manifest)
    path = _TYPED.get((whole["apiVersion"], whole["kind"]))
    if path is None:
        return Custom(name, whole, opts)
    typed: type[pulumi.CustomResource] = attrgetter(path)(kubernetes)
    fields = {_snake(key): value for key, value in whole.items() if key not in {"apiVersion", "kind"}}
    return typed(name, opts=opts, **fields)


def namespace(
    scope: Scope,
    name: str,
    *after: pulumi.Resource,
    security: Security = "restricted",
    injected: bool = False,
    extra: Mapping[str, str] | None = None,
) -> pulumi.Resource:
    """A namespace that enforces a Pod Security level; `injected` says whether its pods get Istio's sidecar."""
    return apply(scope, name, namespace_manifest(name, security, injected=injected, extra=extra), *after)


def namespace_manifest(
    name: str, security: Security = "restricted", *, injected: bool = False, extra: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The namespace as it is applied.

    The level is enforced, and what would break the strictest one is told to whoever applies it:
    https://kubernetes.io/docs/concepts/security/pod-security-admission/
    """
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "pod-security.kubernetes.io/enforce": security,
                "pod-security.kubernetes.io/warn": "restricted",
                "istio-injection": "enabled" if injected else "disabled",
                **(extra or {}),
            },
        },
    }


def labels(name: str, **more: str) -> dict[str, str]:
    """The labels that every object of the platform carries. `more` is by label, for those without a prefix."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": PROJECT,
        "app.kubernetes.io/managed-by": "pulumi",
        **more,
    }


def labelled(manifest: Manifest) -> dict[str, Any]:
    """The object with the platform's labels; what it says itself stays."""
    metadata = manifest["metadata"]
    own = metadata.get("labels", {})
    return {**manifest, "metadata": {**metadata, "labels": {**labels(metadata["name"]), **own}}}


_POD_DEFAULTS: Final = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    # a volume that holds a checkpoint would else be walked, file by file, at every start
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_DEFAULTS: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def restricted(pod: Manifest) -> dict[str, Any]:
    """A pod's spec under the `restricted` Pod Security Standard, with a read-only root file system.

    What the spec says itself stays (the user of an image that has one of its own), unless the standard refuses it:
    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted

    Raises:
        ValueError: the spec asks for what the standard refuses.
    """
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            raise ValueError(f"{key} is refused by the restricted Pod Security Standard; remove it")
    for volume in pod.get("volumes", ()):
        if "hostPath" in volume:
            raise ValueError(
                f"volume {volume['name']}: hostPath is refused by the restricted Pod Security Standard; use a claim "
                "or an emptyDir"
            )
    context = {**_POD_DEFAULTS, **pod.get("securityContext", {})}
    _check_user("pod", context)
    # Kubernetes' API is reached by no workload of the platform, so none gets a token for it
    whole = {"automountServiceAccountToken": False, "enableServiceLinks": False, **pod, "securityContext": context}
    for key in ("initContainers", "containers"):
        if key in pod:
            whole[key] = [_restricted_container(container) for container in pod[key]]
    return whole


def _restricted_container(container: Manifest) -> dict[str, Any]:
    context = {**_CONTAINER_DEFAULTS, **container.get("securityContext", {})}
    name = f"container {container['name']}"
    _check_user(name, context)
    if context.get("privileged") or context["allowPrivilegeEscalation"] is True:
        raise ValueError(f"{name}: privilege is refused by the restricted Pod Security Standard; remove it")
    added = set(context["capabilities"].get("add", ())) - {"NET_BIND_SERVICE"}
    if added or "ALL" not in context["capabilities"].get("drop", ()):
        raise ValueError(
            f"{name}: capabilities {sorted(added)} beyond NET_BIND_SERVICE, or not all dropped first, are refused by "
            "the restricted Pod Security Standard; drop ALL"
        )
    return {**container, "securityContext": context}


def _check_user(subject: str, context: Manifest) -> None:
    if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0:
        raise ValueError(f"{subject}: root is refused by the restricted Pod Security Standard; give a user above 0")


def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
