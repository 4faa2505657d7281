"""Puts the controllers into a cluster and waits until each of them answers."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from infra.manifests import namespace_manifest
from tests.lab import metrics
from tests.lab.cluster import Cluster
from tests.lab.controllers.building import manifest
from tests.lab.controllers.charts import SOURCES
from tests.lab.controllers.fitting import deployments, kinds_apart, services_of_api
from tests.lab.controllers.probes import PROBES, Probe
from tests.lab.daemons import LabError, met

_ROLLOUT_LIMIT_S, _ANSWER_LIMIT_S = 180, 60

Manifests = Sequence[dict[str, Any]]


def install(cluster: Cluster) -> None:
    """Kinds first, then all controllers together, then a wait for each. One that is there is brought up to date.

    Raises:
        LabError: a chart was not rendered yet, the cluster refuses an object, or a controller does not answer in time.
    """
    kinds, objects = kinds_apart(_rendered(cluster))
    apply(cluster, kinds)
    _await_condition(cluster, "Established", [f"crd/{kind['metadata']['name']}" for kind in kinds])
    apply(cluster, [namespace_manifest(name, "privileged") for name in sorted({s.release.namespace for s in SOURCES})])
    apply(cluster, objects)
    for namespace, name in deployments(objects):
        _await_rollout(cluster, namespace, name)
    _await_condition(cluster, "Available", [f"apiservice/{name}" for name in services_of_api(objects)])
    for probe in PROBES:
        _await_answer(cluster, probe)
    metrics.install(cluster)


def apply(cluster: Cluster, manifests: Manifests) -> None:
    """All of them, by the server's own merge: what a controller writes into its objects stays."""
    cluster.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--field-manager=isthmus-lab", "-f", "-"),
        input=yaml.dump_all(manifests, Dumper=yaml.CSafeDumper),
    )


def _rendered(cluster: Cluster) -> Manifests:
    documents = []
    for source in SOURCES:
        path = manifest(cluster.layout, source)
        if not path.is_file():
            raise LabError(f"{path} is not there: build the controllers first, `python -m tests.lab.controllers build`")
        documents += yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return documents


def _await_condition(cluster: Cluster, condition: str, names: Sequence[str]) -> None:
    cluster.kubectl("wait", f"--for=condition={condition}", f"--timeout={_ANSWER_LIMIT_S}s", *names)


def _await_rollout(cluster: Cluster, namespace: str, name: str) -> None:
    try:
        cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, f"--timeout={_ROLLOUT_LIMIT_S}s")
    except LabError as error:
        pods = cluster.kubectl("get", "pods", "-n", namespace, "-o", "wide")
        events = cluster.kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp")
        last = "\n".join(events.splitlines()[-8:])
        raise LabError(f"{namespace}/{name} is not up after {_ROLLOUT_LIMIT_S} s: {error}\n{pods}\n{last}") from error


def _await_answer(cluster: Cluster, probe: Probe) -> None:
    said = ""

    def answered() -> bool:
        nonlocal said
        try:
            said = cluster.kubectl(
                "create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(probe.manifest)
            )
        except LabError as error:
            said = str(error)
            return False
        return probe.expected in said

    if not met(answered, _ANSWER_LIMIT_S):
        raise LabError(f"{probe.what} does not answer after {_ANSWER_LIMIT_S} s: {said[-600:]}")
