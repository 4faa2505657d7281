"""Rendered charts as the lab runs them: one of each controller, from its own image, beside the control plane. Pure."""

from collections.abc import Iterable
from typing import Any, Final

from infra.releases import OFF_HYBRID_NODES

Manifest = dict[str, Any]

_OF_SEVERAL: Final = {"HorizontalPodAutoscaler", "PodDisruptionBudget"}
"""Kinds that say something about more than one replica."""
_COMPONENT: Final = "app.kubernetes.io/component"
_USER: Final = 1337
_REQUESTS: Final = {"cpu": "20m", "memory": "64Mi"}
_EVERY_SECOND: Final = {"initialDelaySeconds": 1, "periodSeconds": 1}


def fitted(documents: Iterable[Manifest | None], image: str, *, several: bool = False) -> list[Manifest]:
    """The objects of a chart, less empty documents and those about several replicas.

    With `several` the image holds one program for all components, whose first argument says which it is.
    """
    return [
        _deployment(document, image, several=several) if document["kind"] == "Deployment" else document
        for document in documents
        if document and document["kind"] not in _OF_SEVERAL
    ]


def kinds_apart(documents: Iterable[Manifest]) -> tuple[list[Manifest], list[Manifest]]:
    """Definitions of kinds, and everything else: an object is refused while its kind is not known."""
    kinds, others = [], []
    for document in documents:
        (kinds if document["kind"] == "CustomResourceDefinition" else others).append(document)
    return kinds, others


def deployments(documents: Iterable[Manifest]) -> list[tuple[str, str]]:
    """Namespace and name of each Deployment."""
    found = _of_kind(documents, "Deployment")
    return [(document["metadata"]["namespace"], document["metadata"]["name"]) for document in found]


def services_of_api(documents: Iterable[Manifest]) -> list[str]:
    """Names of the parts of Kubernetes' own API that a controller serves. No namespace ends while one does not answer."""
    return [document["metadata"]["name"] for document in _of_kind(documents, "APIService")]


def _of_kind(documents: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [document for document in documents if document["kind"] == kind]


def _deployment(document: Manifest, image: str, *, several: bool) -> Manifest:
    spec = document["spec"]
    template = spec["template"]
    pod = {key: value for key, value in template["spec"].items() if key != "topologySpreadConstraints"}
    first = [document["metadata"]["labels"][_COMPONENT]] if several else []
    pod["affinity"] = dict(OFF_HYBRID_NODES)
    pod["containers"] = [_container(container, image, first) for container in pod["containers"]]
    return {
        **document,
        "spec": {
            **spec,
            "replicas": 1,
            # never two of them at once: not all have an election
            "strategy": {"type": "Recreate"},
            "template": {**template, "spec": pod},
        },
    }


def _container(container: Manifest, image: str, first: list[str]) -> Manifest:
    # an image's entry point says where its program is
    kept = {key: value for key, value in container.items() if key != "command"}
    if "readinessProbe" in kept:
        kept["readinessProbe"] = {**kept["readinessProbe"], **_EVERY_SECOND}
    return {
        **kept,
        "image": image,
        "imagePullPolicy": "Never",
        "args": [*first, *container.get("args", [])],
        "resources": {"requests": dict(_REQUESTS)},
        "securityContext": {**container.get("securityContext", {}), "runAsUser": _USER},
    }
