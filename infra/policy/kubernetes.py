"""Rules on what runs in the cluster: pods, their images, and charts."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.cloud_contracts import NAMESPACES
from infra.policy.rule import Config, Resource, Rule, items, known, mapping

_TRAINING: Final = NAMESPACES[0]
_INJECT: Final = "sidecar.istio.io/inject"
_TEMPLATES: Final = "inject.istio.io/templates"  # with it, istiod puts its own proxy where the image is `auto`
DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")
"""How a reference to an image ends that names the image itself."""


@dataclass(frozen=True)
class Pod:
    """A pod as some object would start it."""

    namespace: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        kinds = ("initContainers", "containers", "ephemeralContainers")
        return [mapping(container) for kind in kinds for container in items(self.spec.get(kind))]


def pods(resource: Resource) -> list[Pod]:
    """Every pod template in a Kubernetes object, however deep: a JobSet has one in each of its jobs."""
    if not resource.type.startswith("kubernetes:") or resource.type.startswith("kubernetes:helm"):
        return []
    namespace = str(mapping(resource.props.get("metadata")).get("namespace", "default"))
    return [
        Pod(namespace, mapping(found.get("metadata")), mapping(found["spec"])) for found in _templates(resource.props)
    ]


def _templates(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if items(mapping(value.get("spec")).get("containers")):
            yield value
        for entry in value.values():
            yield from _templates(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _templates(entry)


def training_outside_mesh(resource: Resource, config: Config) -> list[str]:
    """A sidecar breaks the workers' rendezvous, and a job with one never ends."""
    name = mapping(resource.props.get("metadata")).get("name", resource.name)
    if resource.type == "kubernetes:core/v1:Namespace" and name in config["namespaces"]:
        labels = mapping(mapping(resource.props["metadata"]).get("labels"))
        inside = labels.get("istio-injection") == "enabled" or "istio.io/rev" in labels
        remedy = "set istio-injection: disabled"
        return [f"namespace {name} is in the mesh, limit training outside it; {remedy}"] * inside
    found = []
    for pod in pods(resource):
        if pod.namespace not in config["namespaces"] and not resource.type.endswith(":JobSet"):
            continue
        marks = {**mapping(pod.metadata.get("annotations")), **mapping(pod.metadata.get("labels"))}
        if str(marks.get(_INJECT)).lower() != "false":
            found.append(
                f'{resource.name}: a training pod has {_INJECT}={marks.get(_INJECT)}, limit "false"; label it so'
            )
    return found


def privileged_pods(resource: Resource, config: Config) -> list[str]:
    """Pods have no part of the node that they run on."""
    return [
        f"{resource.name}: {what} in namespace {pod.namespace}, limit the namespaces "
        f"{', '.join(config['namespaces'])}; do without"
        for pod in pods(resource)
        if pod.namespace not in config["namespaces"]
        for what in _reaching_out(pod)
    ]


def _reaching_out(pod: Pod) -> list[str]:
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name) is True]
    paths = [f"host path {path}" for path in map(_host_path, items(pod.spec.get("volumes"))) if path]
    powers = []
    for container in pod.containers:
        security = mapping(container.get("securityContext"))
        name = container.get("name", "?")
        if security.get("privileged") is True:
            powers.append(f"container {name} is privileged")
        if security.get("allowPrivilegeEscalation") is True:
            powers.append(f"container {name} may gain privileges")
        if any(mapping(port).get("hostPort") for port in items(container.get("ports"))):
            powers.append(f"container {name} has a host port")
    return [*shared, *paths, *powers]


def _host_path(volume: Any) -> str | None:
    path = mapping(volume).get("hostPath")
    return str(mapping(path).get("path", "?")) if known(path) else None


def images_by_digest(resource: Resource, _: Config) -> list[str]:
    """A tag can be moved to another image; a digest is the image."""
    return [
        f"{resource.name}: image {image} is named by tag, limit a digest; write NAME@sha256:…"
        for pod in pods(resource)
        for container in pod.containers
        if isinstance(image := container.get("image"), str)
        # what is never pulled is what somebody has put on the node
        and container.get("imagePullPolicy") != "Never"
        and not DIGEST.search(image)
        and not (image == "auto" and _TEMPLATES in mapping(pod.metadata.get("annotations")))
    ]


def pinned_charts(resource: Resource, _: Config) -> list[str]:
    """What is installed today is what was tested."""
    if resource.type != "kubernetes:helm.sh/v3:Release":
        return []
    version = resource.props.get("version")
    if not known(version) or re.fullmatch(r"v?\d+\.\d+\.\d+([-+][\w.-]+)?", str(version)):
        return [] if version is not None else [f"{resource.name}: chart has no version; pin one"]
    return [f"{resource.name}: chart version {version} is a range, limit one version; pin it"]


RULES: Final = (
    Rule(
        "training-outside-mesh",
        'Training pods carry `sidecar.istio.io/inject: "false"` and their namespace is outside the mesh.',
        training_outside_mesh,
        {"namespaces": {"type": "array", "items": {"type": "string"}, "default": [_TRAINING]}},
    ),
    Rule(
        "privileged-pods",
        "No pod is privileged or has host paths, ports or namespaces, but in namespaces of controllers that need it.",
        privileged_pods,
        {
            "namespaces": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["gpu-operator", "istio-system", "kube-system"],
            }
        },
    ),
    Rule("images-by-digest", "Images that are pulled are named by digest.", images_by_digest),
    Rule("pinned-charts", "Helm charts have exact versions.", pinned_charts),
)
