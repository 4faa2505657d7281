"""`python -m tests.lab.controllers build|install`: the programs and rendered charts; and all of them in the cluster."""

import sys
import time

from tests.lab.cluster import Cluster
from tests.lab.controllers import build, install
from tests.lab.daemons import LabError

began = time.monotonic()
try:
    match sys.argv[1:]:
        case ["build"]:
            build(Cluster())
        case ["install"]:
            install(Cluster())
        case other:
            sys.exit(f"error: {' '.join(other) or 'nothing'!r} is not understood; say: build, install")
except LabError as error:
    sys.exit(f"error: {error}")
print(f"{sys.argv[1]}: {time.monotonic() - began:.0f} s")  # noqa: T201 - the interface of a command
