"""What is left in the clouds and in the cluster."""

import json
import subprocess
import sys

from infra.mesh.fencing import INGRESS_NAMESPACE, REGISTRY, SERVING, TRAINING
from infra.settings import PROJECT, ROOT
from tests.lab.daemons import LabError
from tests.lab.drills.view import View
from tests.lab.openstack import control
from tests.lab.openstack.layout import Layout

_OF_THE_PLATFORM = f"app.kubernetes.io/part-of={PROJECT}"
_NOT_LISTED = {"events", "events.events.k8s.io"}  # which only tell what was


def in_openstack(layout: Layout) -> dict[str, list[str]]:
    """By kind, without kinds that nothing is left of."""
    return {kind: found for kind, found in json.loads(control.ask(layout, "census")).items() if found}


def in_aws() -> dict[str, list[str]]:
    command = [sys.executable, "-m", "tests.lab.aws", "census"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"census of AWS: {done.stderr.strip()[-600:]}")
    return {kind: found for kind, found in json.loads(done.stdout).items() if found}


def in_cluster(view: View) -> list[str]:
    """The platform's namespaces, all that is in them, and what carries its label anywhere else."""
    spaces = [name for name in (TRAINING, SERVING, REGISTRY, INGRESS_NAMESPACE) if view.there("namespace", name)]
    kinds = [kind for kind in _kinds(view, namespaced=True) if kind not in _NOT_LISTED]
    inside = [line for name in spaces for line in _named(view, kinds, "-n", name)]
    labelled = [
        *_named(view, kinds, "-A", "-l", _OF_THE_PLATFORM),
        *_named(view, _kinds(view, namespaced=False), "-l", _OF_THE_PLATFORM),
    ]
    return sorted({*(f"namespace/{name}" for name in spaces), *inside, *labelled})


def _kinds(view: View, *, namespaced: bool) -> list[str]:
    said = view.cluster.kubectl(
        "api-resources", "--verbs=list", f"--namespaced={str(namespaced).lower()}", "-o", "name"
    )
    return said.split()


def _named(view: View, kinds: list[str], *where: str) -> list[str]:
    said = view.cluster.kubectl("get", ",".join(kinds), *where, "-o", "name", "--ignore-not-found")
    return said.split()
