"""Labels of nodes: a module without a cloud's SDK, so that what only plans need not import one. Pure."""

from typing import Final

SITE_LABEL: Final = "isthmus.dev/site"
POOL_LABEL: Final = "isthmus.dev/pool"
REGION_LABEL: Final = "topology.kubernetes.io/region"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"


def node_labels(site: str, pool: str) -> dict[str, str]:
    """Labels of the platform's own, by which queues, spread and affinity go."""
    return {SITE_LABEL: site, POOL_LABEL: pool}
