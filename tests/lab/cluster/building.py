"""The programs of the cluster, from their locked modules, and the link's emulator."""

from pathlib import Path
from typing import Final

from tests.bench.wan import link
from tests.lab.cluster.layout import Layout
from tests.lab.compiling import Program, compiled

KUBERNETES: Final = "1.34.4"  # of `go/kube/go.mod`, to be said by `kubectl version`
ROLES: Final = (
    *("etcd", "gpu-plugin", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"),
    *("kubectl", "kubelet"),
)
"""Names under which `kube` is each of its parts."""

_SOURCES = Path(__file__).with_name("go")
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")

KUBE: Final = Program(
    "kube",
    _SOURCES / "kube",
    stamps={
        f"{_VERSION}.gitVersion": f"v{KUBERNETES}",
        f"{_VERSION}.gitMajor": _MAJOR,
        f"{_VERSION}.gitMinor": _MINOR,
        f"{_VERSION}.gitTreeState": "clean",
    },
)
COREDNS: Final = Program("coredns", _SOURCES / "coredns")


def build(layout: Layout) -> None:
    """All of them. Raises `LabError`."""
    for program in (KUBE, COREDNS):
        compiled(program, layout.bin)
    for role in ROLES:
        path = layout.bin / role
        if not path.is_symlink():
            path.symlink_to(KUBE.name)
    link.build(layout.bin)
