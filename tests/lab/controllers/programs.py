"""The controllers' programs: which package of which Go module, and the version that it is told to be. Pure."""

import re
from pathlib import Path
from typing import Final

from infra.releases import CHARTS
from tests.lab import metrics
from tests.lab.compiling import Program

GO: Final = Path(__file__).with_name("go")

CERT_MANAGER: Final = "github.com/cert-manager/cert-manager"
ISTIO: Final = "istio.io/istio"
JOBSET: Final = "sigs.k8s.io/jobset"
KUEUE: Final = "sigs.k8s.io/kueue"

_ISTIO_BRANCH: Final = CHARTS["istiod"].installs.rpartition(".")[0]
_REQUIRED = re.compile(r"^\s*(?:require\s+)?(?P<module>[^\s/]+\.[^\s/]+/\S+)\s+(?P<version>v\S+)", re.MULTILINE)


def _told(variable: str, chart: str) -> dict[str, str]:
    return {variable: f"v{CHARTS[chart].installs}"}


RENDERER: Final = Program("charts", GO / "mesh", "./charts")

PROGRAMS: Final = (
    Program("jobset-controller", GO / "jobset", JOBSET, _told(f"{JOBSET}/pkg/version.GitVersion", "jobset")),
    Program(
        "kueue-manager",
        GO / "kueue",
        f"{KUEUE}/cmd/kueue",
        _told(f"{KUEUE}/pkg/version.GitVersion", "kueue"),
    ),
    RENDERER,
    Program(
        "cert-manager-controller",
        GO / "certmanager",
        ".",
        _told(f"{CERT_MANAGER}/pkg/util.AppVersion", "cert-manager"),
    ),
    # tags are those of Istio's own build
    Program(
        "pilot-discovery",
        GO / "mesh",
        f"{ISTIO}/pilot/cmd/pilot-discovery",
        {f"{ISTIO}/pkg/version.buildVersion": _ISTIO_BRANCH},
        ("vtprotobuf", "disable_pgv"),
    ),
    Program(
        "pilot-agent",
        GO / "mesh",
        f"{ISTIO}/pilot/cmd/pilot-agent",
        {f"{ISTIO}/pkg/version.buildVersion": _ISTIO_BRANCH},
        ("agent", "disable_pgv", "grpcnotrace", "retrynotrace"),
    ),
    metrics.PROGRAM,
)
"""In the order in which others wait for them."""


def required(go_mod: str) -> dict[str, str]:
    """Versions of the modules that a `go.mod` asks for."""
    return {match["module"]: match["version"] for match in _REQUIRED.finditer(go_mod)}
