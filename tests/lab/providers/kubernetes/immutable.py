"""Fields whose change is another object: those of the official provider, and those that the API refuses. Pure.

https://www.pulumi.com/registry/packages/kubernetes/ does not list them; they are what its `Diff` answers.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.lab.providers.kubernetes.objects import AUTONAMED, DEFAULT_NAMESPACE, annotations, metadata
from tests.lab.providers.kubernetes.paths import Path, parse, within

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "apps/DaemonSet": ("spec.selector",),
    "apps/Deployment": ("spec.selector",),
    "apps/StatefulSet": (
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    "batch/Job": ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    "rbac.authorization.k8s.io/ClusterRoleBinding": ("roleRef",),
    "rbac.authorization.k8s.io/RoleBinding": ("roleRef",),
    "storage.k8s.io/StorageClass": ("parameters", "provisioner"),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
    "ResourceQuota": ("spec.scopes",),
    "Secret": ("type",),
    "Service": ("spec.clusterIP",),
}
_EVERY: Final = ("metadata.name", "metadata.namespace")
_CONTENTS: Final = {"ConfigMap": ("data", "binaryData"), "Secret": ("data", "stringData", "type")}

_REFUSAL: Final = re.compile(
    r"field is immutable|may not (?:be|change)[^;]*(?:set|updated|update)|updates to \w+ spec for fields other than"
    r"|is immutable|cannot (?:be changed|change roleRef)|updates to \w+ are forbidden",
    re.IGNORECASE,
)


def replacing(
    old: Mapping[str, Any], new: Mapping[str, Any], changed: Sequence[Path], mutable: frozenset[str]
) -> list[Path]:
    """Those of the changed paths for which the object has to be another one.

    A ConfigMap's and a Secret's contents are among them unless their kind is in `mutable`: so it is with the official
    provider, whose options `enableConfigMapMutable` and `enableSecretMutable` are off by default.
    """
    kind = new["kind"]
    fixed = [*_EVERY, *_FIELDS.get(f"{group}/{kind}" if (group := _group(new)) else kind, ())]
    if kind in _CONTENTS and not group and (kind not in mutable or old.get("immutable") or new.get("immutable")):
        fixed += _CONTENTS[kind]
    rules = [parse(field) for field in fixed]
    return [path for path in changed if any(within(path, rule) for rule in rules)]


def refused_as_immutable(message: str) -> bool:
    """Whether the server's words say that the change would have to be another object."""
    return bool(_REFUSAL.search(message))


def in_the_way(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a replacement cannot be there beside the old object, having its name."""
    ours, theirs = (metadata(value) for value in (new, old))
    return (
        annotations(new).get(AUTONAMED) != "true"
        and ours.get("name") == theirs.get("name")
        and (ours.get("namespace") or DEFAULT_NAMESPACE) == (theirs.get("namespace") or DEFAULT_NAMESPACE)
    )


def _group(value: Mapping[str, Any]) -> str:
    return str(value["apiVersion"]).rpartition("/")[0]
