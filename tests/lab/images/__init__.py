"""The lab's container images, made on the spot: a base from Debian's packages, and on it what the platform runs.

The project's own images are of its own Dockerfiles, with that base as their argument BASE. Nothing is pulled: Debian's
and Python's packages come through this machine's ordinary clients. What stands in for something real:

- `trainer` lacks the CUDA libraries of its lock file, 3 GB that no machine of the lab can use. Its torch is the locked
  one, built for CUDA; libraries of the same names answer that there is no device (`cuda.py`).
- `postgres` is Debian's PostgreSQL, of the major version that the base has, with as much of the official image's entry
  point as the platform's manifests use.
- Controllers are one static binary each; `proxyv2` holds upstream's Envoy, which lacks Istio's own filters.
"""

from tests.lab.images.catalogue import NAMES
from tests.lab.images.workshop import NEEDED, build

__all__ = ["NAMES", "NEEDED", "build"]
