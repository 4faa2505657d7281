"""metrics-server for real: how busy pods and nodes are, for `kubectl top` and autoscalers, as kubelets say it.

Its program is built from its Go module; its objects are those of the release, with two differences: there is one replica
(the program's values ask for two, on a cluster of many nodes), and kubelets' certificates are verified, as they are of the
cluster's authority here.
"""

from tests.lab.metrics.building import PROGRAM
from tests.lab.metrics.installing import install

__all__ = ["PROGRAM", "install"]
