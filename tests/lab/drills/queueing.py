"""Somebody else's job takes the GPU of a site, so that a run has to wait for it."""

from typing import Any, Final

from infra.manifests import restricted
from infra.mesh import ports
from infra.mesh.fencing import TRAINING
from infra.scheduling.quotas import GPU
from infra.scheduling.rendering import GPU_TAINT, TRAINING_QUEUE
from tests.lab.drills.probes import IMAGE, mounted, volumes
from tests.lab.drills.view import View, condition

NAME: Final = "lab-guest"
_LIMIT_S: Final = 120


def guest(site: str) -> dict[str, Any]:
    """A job in the queue of training that holds the GPU of a site. Its priority is above a run's: none takes it away."""
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": {ports.SITE_LABEL: site},
        "tolerations": [{**GPU_TAINT, "operator": "Equal"}],
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "guest",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sleep", "3600"],
                **mounted(),
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi", GPU: "1"},
                    "limits": {"memory": "64Mi", GPU: "1"},
                },
            }
        ],
        **volumes(),
    }
    labels = {"kueue.x-k8s.io/queue-name": TRAINING_QUEUE, "kueue.x-k8s.io/priority-class": "serving"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": TRAINING, "labels": labels},
        "spec": {"suspend": True, "backoffLimit": 0, "template": {"spec": restricted(pod)}},
    }


def take(view: View, site: str) -> None:
    """Until it runs."""
    view.apply(guest(site))
    view.until(f"a guest holds the GPU of {site}", lambda: _active(view), _LIMIT_S)


def give_back(view: View) -> None:
    view.delete("job", NAME, TRAINING)


def is_waiting(workload: dict[str, Any]) -> bool:
    """Whether the queue has seen it and has no room. Pure."""
    told = [each for each in workload.get("status", {}).get("conditions", []) if each["type"] == "QuotaReserved"]
    return bool(told) and not condition(workload, "QuotaReserved")


def _active(view: View) -> bool:
    return bool(view.one("job", NAME, TRAINING).get("status", {}).get("active"))
