"""The controllers of the platform for real, as in a cluster that has them already: cert-manager, JobSet, Kueue, Istio.

Their programs are built from their Go modules, their objects rendered from their own charts with the values that the
program would give. What differs from a cluster of many nodes: one of each, no elections that matter, small requests, images
made here. What differs from the releases:

- cert-manager's commands are no part of its module, so `go/certmanager` puts its controllers, webhook and injector
  together anew; of its issuers there are those that the platform has.
- Istio's releases have no version in Go's proxy: control plane and agent are the newest commit of the same branch that it
  has, with the release's own kinds. Sidecars are upstream's Envoy, without the filters that are Istio's own.
"""

from tests.lab.controllers.building import build
from tests.lab.controllers.installing import install

__all__ = ["build", "install"]
