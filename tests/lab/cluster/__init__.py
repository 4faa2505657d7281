"""One Kubernetes over two sites on one machine: every program of it real, every network a namespace, no image pulled.

What is real: etcd, API server, controllers, scheduler, kubelets, containerd, runc, proxies, names, and each byte between
the sites, which crosses an emulated link. What is not: GPUs (a device plugin counts some), the sizes that nodes report
(their flavors', not this machine's), and Cilium (`tests.lab.policies` enforces in its place).
"""

from tests.lab.cluster.cluster import Cluster
from tests.lab.cluster.layout import LAB, Layout

__all__ = ["LAB", "Cluster", "Layout"]
