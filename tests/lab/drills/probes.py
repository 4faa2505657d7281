"""Pods that only ask: one at each site outside the mesh, others where a drill wants them."""

from collections.abc import Mapping
from typing import Any, Final

from infra.manifests import namespace_manifest, restricted
from infra.mesh import ports
from infra.scheduling.rendering import GPU_TAINT
from tests.lab.drills.view import Manifest, View, condition

NAMESPACE: Final = "lab-drill"
IMAGE: Final = "localhost/probe:1"
CONTAINER: Final = "probe"
_LIMIT_S: Final = 120


def namespace() -> Manifest:
    """A namespace of nobody's: no mesh, no network policies."""
    return namespace_manifest(NAMESPACE)


def pod(
    name: str,
    site: str,
    space: str = NAMESPACE,
    command: tuple[str, ...] = ("sleep", "86400"),
    labels: Mapping[str, str] | None = None,
    account: str | None = None,
    *,
    ready: bool = True,
) -> dict[str, Any]:
    """A pod on the node of `site`. One that is not `ready` gets no request of a Service whose labels it has."""
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": list(command),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        **mounted(),
    }
    if not ready:
        container["readinessProbe"] = {"exec": {"command": ["false"]}}
    spec = {
        "nodeSelector": {ports.SITE_LABEL: site},
        "tolerations": [{**GPU_TAINT, "operator": "Equal"}],
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        **volumes(),
        **({"serviceAccountName": account} if account else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"isthmus.dev/drill": name, **(labels or {})}},
        "spec": restricted(spec),
    }


def volumes() -> Manifest:
    """Scratch space. A pod without any volume is what the stand-in of Pod Identity's webhook cannot add its own to."""
    return {"volumes": [{"name": "tmp", "emptyDir": {}}]}


def mounted() -> Manifest:
    """Where a container has it."""
    return {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}  # noqa: S108 - a pod's own


def start(view: View, *pods: dict[str, Any]) -> dict[str, str]:
    """Make them, and give their addresses by name once they run."""
    for each in pods:
        view.delete("pod", each["metadata"]["name"], each["metadata"]["namespace"])
    view.apply(*pods)
    return {each["metadata"]["name"]: _address(view, each) for each in pods}


def _address(view: View, made: Manifest) -> str:
    name, space = made["metadata"]["name"], made["metadata"]["namespace"]

    def running() -> str:
        found = view.one("pod", name, space)
        states = found.get("status", {}).get("containerStatuses", [])
        runs = any(state["name"] == CONTAINER and "running" in state["state"] for state in states)
        return str(found["status"]["podIP"]) if runs and condition(found, "PodScheduled") else ""

    return view.until(f"probe {name} runs", running, _LIMIT_S)


def at_sites(view: View, sites: tuple[str, ...]) -> None:
    """A probe at each site, named as the site is."""
    view.apply(namespace())
    start(view, *(pod(site, site) for site in sites))
