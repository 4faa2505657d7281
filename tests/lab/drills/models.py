"""A model on its way from a run to its replicas: closed, registered, loaded."""

import base64
import json
from typing import Any, Final

from infra.apps.pods import WORK
from infra.apps.registry_server import NAME as REGISTRY_NAME
from infra.apps.served import MODEL
from infra.mesh import ports
from infra.mesh.fencing import REGISTRY, SERVING, TRAINING
from tests.lab.drills import serving
from tests.lab.drills.training import Run
from tests.lab.drills.view import View, condition
from workloads.spec.artifact import SIGNATURE
from workloads.spec.delivery import DELIVERED, Delivered

_API: Final = f"http://127.0.0.1:{ports.REGISTRY}/api/2.0/mlflow"


def await_closing(view: View, run: Run, limit_s: float) -> None:
    """Until the job that closes the run has compressed, registered and delivered its model."""
    (name,) = [
        job["metadata"]["name"]
        for job in view.all("jobs", TRAINING, {"isthmus.dev/run": run.launch.run_id})
        if job["metadata"]["name"].startswith("finish-")
    ]
    view.until(f"{name} is through", lambda: condition(view.one("job", name, TRAINING), "Complete"), limit_s)


def registered(view: View, name: str, alias: str) -> dict[str, Any]:
    """The version that the registry has under the alias, asked in its own pod."""
    url = f"{_API}/registered-models/alias?name={name}&alias={alias}"
    asking = f"import urllib.request as u; print(u.urlopen({url!r}, timeout=20).read().decode())"
    said = view.run(REGISTRY, f"deployment/{REGISTRY_NAME}", "server", "python", "-c", asking)
    return dict(json.loads(said)["model_version"])


def loaded(view: View, site: str) -> tuple[Delivered, str]:
    """Which model the replica at a site has, and its signature's text."""
    pod = serving.await_replica(view, site)["metadata"]["name"]
    told = _file(view, pod, f"{WORK}/{DELIVERED}")
    return Delivered.model_validate_json(told), _file(view, pod, f"{MODEL}/{SIGNATURE}").decode()


def _file(view: View, pod: str, path: str) -> bytes:
    coded = f"import base64; print(base64.b64encode(open({path!r}, 'rb').read()).decode())"
    return base64.b64decode(view.run(SERVING, pod, "server", "python", "-c", coded))
