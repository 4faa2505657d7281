"""The program of metrics-server, from its Go module."""

from pathlib import Path
from typing import Final

from infra.releases import CHARTS
from tests.lab.compiling import Program

PROGRAM: Final = Program(
    "metrics-server",
    Path(__file__).with_name("go"),
    "sigs.k8s.io/metrics-server/cmd/metrics-server",
    # as its Makefile has it
    {"k8s.io/client-go/pkg/version.gitVersion": f"v{CHARTS['metrics'].installs}"},
)
