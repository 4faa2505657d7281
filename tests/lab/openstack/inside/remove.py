"""What somebody does behind the program's back: `python -m tests.lab.openstack.inside.remove server|balancer NAME`."""

import sys
from typing import Any

import openstack

from tests.lab.openstack.layout import CLOUD


def main() -> None:
    _, kind, name = sys.argv
    {"server": _server, "balancer": _balancer}[kind](openstack.connect(cloud=CLOUD), name)


def _server(cloud: Any, name: str) -> None:
    server = cloud.compute.find_server(name, ignore_missing=False)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=0.5, wait=60)


def _balancer(cloud: Any, name: str) -> None:
    """With its listeners and pools."""
    balancer = cloud.load_balancer.find_load_balancer(name, ignore_missing=False)
    cloud.load_balancer.delete_load_balancer(balancer, cascade=True)
    cloud.load_balancer.wait_for_delete(balancer, interval=0.5, wait=60)


if __name__ == "__main__":
    main()
