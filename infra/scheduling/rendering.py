"""Kueue's objects as mappings. Pure.

A training run is one JobSet with a replicated job at each site, and Kueue admits a workload through one ClusterQueue
alone. So the queue of training has the flavors of both sites, each with its quota: the pod sets of one workload get
different flavors of it, each the one whose node labels its node selector asks for. All sites start together or none.

Each site has a second queue, for work at that site alone. It owns nothing: it borrows what training leaves idle, from its
own site as far as `lend` allows and from the other sites as far as `borrow` does, and gives it back when training asks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.cloud_contracts import NAMESPACES, PoolContract
from infra.cloud_settings import QueueSettings
from infra.scheduling.quotas import Quota, flavor_name, quantity, share
from infra.settings import PROJECT

API: Final = "kueue.x-k8s.io/v1beta2"
COHORT: Final = PROJECT
TOPOLOGY: Final = PROJECT
TRAINING_QUEUE: Final = "training"
ZONE: Final = "topology.kubernetes.io/zone"
GPU_TAINT: Final = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
_TRAINING_NAMESPACE = NAMESPACES[0]

PRIORITIES: Final[Mapping[str, tuple[int, str]]] = {
    "interactive": (100, "Notebooks and evaluations at one site: they run on what training leaves idle."),
    "training": (1000, "Training runs over all sites."),
    "serving": (10000, "Jobs that the service waits for, such as an export of the model that it is to load."),
}
"""By purpose: the value, and what it is for. Kueue orders and preempts by it; the pods' own priority is another thing."""


def topology() -> dict[str, Any]:
    """Placement by zone, then by node: a site's workers are kept in one zone, and as few nodes as will do."""
    levels = (ZONE, "kubernetes.io/hostname")
    return _object("Topology", TOPOLOGY, {"levels": [{"nodeLabel": label} for label in levels]})


def flavor(pool: PoolContract, *, by_topology: bool) -> dict[str, Any]:
    """The nodes of a pool, known by their labels; whoever is admitted to them tolerates their taint."""
    labels = {key: pool.labels[key] for key in ("isthmus.dev/site", "isthmus.dev/pool")}
    return _object(
        "ResourceFlavor",
        flavor_name(pool),
        {
            "nodeLabels": labels,
            "nodeTaints": [GPU_TAINT],
            "tolerations": [{**GPU_TAINT, "operator": "Equal"}],
            **({"topologyName": TOPOLOGY} if by_topology else {}),
        },
    )


def cohort() -> dict[str, Any]:
    """Where the queues lend to each other. It has no quota of its own."""
    return _object("Cohort", COHORT, {})


def training_queue(
    pools: Sequence[PoolContract], resources: Sequence[str], quotas: Mapping[str, Quota], settings: QueueSettings
) -> dict[str, Any]:
    """The queue that owns every site's quota, lends what it does not use, and takes it back."""
    flavors = [
        {
            "name": name,
            "resources": [
                {
                    "name": resource,
                    "nominalQuota": quantity(resource, quotas[name][resource]),
                    # nothing in the cohort owns any: said, so that a later queue with quota is not drained by default
                    "borrowingLimit": "0",
                    "lendingLimit": quantity(resource, share(quotas[name][resource], settings.lend)),
                }
                for resource in resources
            ],
        }
        for name in map(flavor_name, pools)
    ]
    preemption = {"reclaimWithinCohort": "Any", "withinClusterQueue": "LowerPriority"}
    return _cluster_queue(TRAINING_QUEUE, resources, flavors, preemption)


def site_queue(
    site: str,
    pools: Sequence[PoolContract],
    resources: Sequence[str],
    quotas: Mapping[str, Quota],
    settings: QueueSettings,
) -> dict[str, Any]:
    """A queue for work at one site: its own flavors first, then what it may borrow of the others'."""
    flavors = []
    for pool in sorted(pools, key=lambda pool: pool.site != site):
        fraction = settings.lend if pool.site == site else min(settings.lend, settings.borrow)
        if fraction == 0:
            continue
        name = flavor_name(pool)
        flavors.append(
            {
                "name": name,
                "resources": [
                    {
                        "name": resource,
                        "nominalQuota": "0",
                        "borrowingLimit": quantity(resource, share(quotas[name][resource], fraction)),
                        "lendingLimit": "0",
                    }
                    for resource in resources
                ],
            }
        )
    preemption = {"reclaimWithinCohort": "Never", "withinClusterQueue": "LowerPriority"}
    return _cluster_queue(site, resources, flavors, preemption)


def local_queue(name: str) -> dict[str, Any]:
    """The way into the ClusterQueue of the same name, from the training namespace."""
    made = _object("LocalQueue", name, {"clusterQueue": cluster_queue_name(name)})
    return {**made, "metadata": {"name": name, "namespace": _TRAINING_NAMESPACE}}


def priority_class(purpose: str) -> dict[str, Any]:
    """A priority of workloads, by purpose."""
    value, words = PRIORITIES[purpose]
    return {
        "apiVersion": API,
        "kind": "WorkloadPriorityClass",
        "metadata": {"name": purpose},
        "value": value,
        "description": words,
    }


def cluster_queue_name(local: str) -> str:
    """ClusterQueues are the whole cluster's, which may be shared: their names say whose they are."""
    return f"{PROJECT}-{local}"


def _cluster_queue(
    local: str, resources: Sequence[str], flavors: list[dict[str, Any]], preemption: Mapping[str, str]
) -> dict[str, Any]:
    groups = [{"coveredResources": list(resources), "flavors": flavors}] if flavors else []
    return _object(
        "ClusterQueue",
        cluster_queue_name(local),
        {
            "cohortName": COHORT,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": _TRAINING_NAMESPACE}},
            # one run that waits for all its GPUs must not be overtaken for ever by small ones
            "queueingStrategy": "StrictFIFO" if local == TRAINING_QUEUE else "BestEffortFIFO",
            "flavorFungibility": {"whenCanBorrow": "MayStopSearch", "whenCanPreempt": "TryNextFlavor"},
            "preemption": dict(preemption),
            "fairSharing": {"weight": "1"},
            "resourceGroups": groups,
        },
    )


def _object(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
