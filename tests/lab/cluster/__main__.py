"""`python -m tests.lab.cluster build|up|down|status|cut|mend|reset-volumes`, or `kill NODE`, `start NODE`, `kubectl …`."""

import sys
import time

from tests.lab.cluster.cluster import Cluster
from tests.lab.daemons import LabError
from workloads.spec.errors import INTERRUPTED_EXIT, UserError

_COMMANDS = ("build", "up", "down", "status", "cut", "mend", "reset-volumes", "load-images", "kill", "start", "kubectl")


def main(arguments: list[str]) -> None:
    cluster = Cluster()
    began = time.monotonic()
    match arguments:
        case ["build" | "up" | "down" | "cut" | "mend" | "reset-volumes" | "load-images" as name]:
            getattr(cluster, name.replace("-", "_"))()
            print(f"{name}: {time.monotonic() - began:.1f} s")  # noqa: T201
        case ["kill" | "start" as name, node]:
            getattr(cluster, f"{name}_node")(node)
            print(f"{name} {node}: {time.monotonic() - began:.1f} s")  # noqa: T201
        case ["kubectl", *rest]:
            print(cluster.kubectl(*rest), end="")  # noqa: T201
        case ["status"]:
            print(cluster.status())  # noqa: T201
        case _:
            sys.exit(f"{' '.join(arguments)!r} is none of {', '.join(_COMMANDS)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (LabError, UserError, LookupError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT)
