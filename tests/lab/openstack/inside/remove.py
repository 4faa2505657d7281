"""What somebody does behind the program's back: `python -m tests.lab.openstack.inside.remove server NAME`."""

import sys
from typing import Any

import openstack

from tests.lab.openstack.layout import CLOUD


def main() -> None:
    _, kind, name = sys.argv
    {"server": _server}[kind](openstack.connect(cloud=CLOUD), name)


def _server(cloud: Any, name: str) -> None:
    server = cloud.compute.find_server(name, ignore_missing=False)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=0.5, wait=60)


if __name__ == "__main__":
    main()
