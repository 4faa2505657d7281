"""Charts of the controllers, each out of its own module, with the values that the program would give it. Pure.

The lab differs from them in `_HERE`, and nowhere else but in what `fitting` does to all alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra import releases
from infra.cluster import chart_values
from infra.mesh import installation
from infra.scheduling.configuration import kueue_values
from tests.lab.controllers.programs import CERT_MANAGER, ISTIO, JOBSET, KUEUE

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A chart that lies in a Go module, and what it is to become."""

    release: releases.Chart
    module: str
    go: str  # the folder below `go` whose module requires it
    folder: str  # inside the module
    program: Callable[[], Values]  # the program's values
    here: Values  # the lab's, over them
    image: str  # of its Deployments
    groups: frozenset[str]  # API groups of the kinds that it brings
    several: bool = False  # the image holds one program for all components: its first argument says which it is

    @property
    def values(self) -> Values:
        return merged(self.program(), self.here)


def merged(low: Values, high: Values) -> dict[str, Any]:
    """Both, as Helm merges them: mappings key by key, all else replaced."""
    both = dict(low)
    for key, value in high.items():
        under = both.get(key)
        nested = isinstance(value, Mapping) and isinstance(under, Mapping)
        both[key] = merged(under, value) if nested else value
    return both


# Upstream's Envoy has no filters of Istio's own: neither its metrics, nor the exchange of who the peers are, nor the
# protocol in the handshake. Identities, mutual TLS, permissions, routes and localities are Envoy's.
_WITHOUT_ISTIOS_FILTERS: Final = {
    "telemetry": {"enabled": False},
    "env": {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"},
}

SOURCES: Final = (
    Source(
        releases.CHARTS["cert-manager"],
        CERT_MANAGER,
        "certmanager",
        "deploy/charts/cert-manager",
        chart_values.cert_manager_values,
        # a probe asks in place of its job; elections there are none
        {"startupapicheck": {"enabled": False}, "global": {"leaderElection": {"namespace": "cert-manager"}}},
        "localhost/cert-manager:1",
        frozenset({"cert-manager.io", "acme.cert-manager.io"}),
        several=True,
    ),
    Source(
        releases.CHARTS["jobset"],
        JOBSET,
        "jobset",
        "charts/jobset",
        chart_values.jobset_values,
        {},
        "localhost/jobset:1",
        frozenset({"jobset.x-k8s.io"}),
    ),
    Source(
        releases.CHARTS["kueue"],
        KUEUE,
        "kueue",
        "charts/kueue",
        # no pool of the lab is the system's: `fitting` says where controllers stand
        lambda: kueue_values({}),
        {},
        "localhost/kueue:1",
        frozenset({"kueue.x-k8s.io"}),
    ),
    Source(
        releases.CHARTS["istio-base"],
        ISTIO,
        "mesh",
        "manifests/charts/base",
        installation.base_values,
        {},
        "",
        frozenset(
            {
                "extensions.istio.io",
                "networking.istio.io",
                "security.istio.io",
                "telemetry.istio.io",
            }
        ),
    ),
    Source(
        releases.CHARTS["istiod"],
        ISTIO,
        "mesh",
        "manifests/charts/istio-control/istio-discovery",
        installation.istiod_values,
        {
            **_WITHOUT_ISTIOS_FILTERS,
            # the stack's `mesh_init`: pods turn their traffic to the sidecar themselves
            "cni": {"enabled": False},
            # a sidecar starts as many threads as its node is said to have processors
            "meshConfig": {"defaultConfig": {"concurrency": 1}},
            # sidecars and gateways are injected: their image is a value
            "global": {"hub": "localhost", "tag": "1", "imagePullPolicy": "Never"},
        },
        "localhost/istiod:1",
        frozenset(),
    ),
)
"""In the order in which they are installed."""
