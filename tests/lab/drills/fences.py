"""Who is let in where: asked by trying, from pods that should not be."""

from pathlib import Path
from typing import Final

from infra.mesh import ingress, ports
from infra.mesh.fencing import INGRESS_NAMESPACE, TRAINING
from tests.lab.drills import probes
from tests.lab.drills.view import View

KNOCK: Final = Path(__file__).with_name("knock.py")
"""Runs in a probe, on Python alone. It says `dropped`, `refused`, `answered` or `tls-refused`, and a reason."""

BARE: Final = "lab-bare"
STRAY: Final = "lab-stray"


def knock(view: View, pod: str, namespace: str, address: str, port: int, way: str) -> str:
    """What comes of a connection; `way` is `http` for a request in plain text, `tls` for a handshake without certificate."""
    said = view.run(
        namespace, pod, probes.CONTAINER, "python3", "-c", KNOCK.read_text(encoding="utf-8"), address, str(port), way
    )
    view.say(f"{namespace}/{pod} knocks at {address}:{port} by {way}: {said.strip()}")
    return said.split()[0]


def bare_in_ingress(view: View, site: str) -> None:
    """A pod that the network lets to the replicas, as it has a gateway's labels, and that has no proxy."""
    labels = {ports.APP_LABEL: ingress.NAME, "sidecar.istio.io/inject": "false"}
    probes.start(view, probes.pod(BARE, site, INGRESS_NAMESPACE, labels=labels, ready=False))


def stray_in_training(view: View, site: str) -> None:
    """A pod in the trainers' namespace that is none."""
    probes.start(view, probes.pod(STRAY, site, TRAINING))


def take_away(view: View) -> None:
    view.delete("pod", BARE, INGRESS_NAMESPACE)
    view.delete("pod", STRAY, TRAINING)
