"""Puts metrics-server into a cluster and waits until it knows every node."""

import json
from typing import Final

from tests.lab.cluster import Cluster
from tests.lab.daemons import LabError, met
from tests.lab.metrics.manifests import API, NAME, NAMESPACE, RESOLUTION_S, manifests

_ROLLOUT_LIMIT_S = 180
_ANSWER_LIMIT_S = 6 * RESOLUTION_S
_NODES: Final = "/apis/metrics.k8s.io/v1beta1/nodes"


def install(cluster: Cluster) -> None:
    """Apply it and wait for what `kubectl top nodes` would show. One that is there is brought up to date.

    Raises:
        LabError: the cluster refuses an object, or there are no metrics in time, with the last word of who has none.
    """
    objects = "\n---\n".join(json.dumps(manifest) for manifest in manifests())
    cluster.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--field-manager=isthmus-lab", "-f", "-"), input=objects
    )
    limit = f"--timeout={_ROLLOUT_LIMIT_S}s"
    try:
        cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE, limit)
        cluster.kubectl("wait", "--for=condition=Available", f"apiservice/{API}", limit)
    except LabError as error:
        raise LabError(f"{error}\n{_said(cluster)}") from None
    wanted = set(cluster.kubectl("get", "nodes", "-o", "name").replace("node/", "").split())
    known: set[str] = set()

    def complete() -> bool:
        nonlocal known
        known = measured(cluster.kubectl("get", "--raw", _NODES))
        return known >= wanted

    if not met(complete, _ANSWER_LIMIT_S):
        missing = ", ".join(sorted(wanted - known))
        raise LabError(f"{NAME} has nothing of {missing} after {_ANSWER_LIMIT_S} s\n{_said(cluster)}")


def _said(cluster: Cluster) -> str:
    """Where its pod stands, and the last words of its program."""
    pods = cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", f"k8s-app={NAME}")
    return pods + cluster.kubectl("logs", "-n", NAMESPACE, "-l", f"k8s-app={NAME}", "--tail=4")


def measured(answer: str) -> set[str]:
    """Names of the nodes that an answer of the metrics API tells of."""
    return {item["metadata"]["name"] for item in json.loads(answer)["items"]}
