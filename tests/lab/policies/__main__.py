"""`python -m tests.lab.policies --kubeconfig FILE --node NAME --netns NAME`: enforce a node's policies until ended.

Its rules are the table `isthmus-policies` of the node's network namespace, which goes when the process is ended; one
that was killed leaves them in force, and the next takes over.
"""

import argparse
import asyncio
import logging
import shutil
import signal
import sys
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab.policies import namespaces, ruleset
from tests.lab.policies.enforcement import apply, enforce
from workloads.spec.errors import UserError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.policies", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="of a user who may list and watch what it takes")
    parser.add_argument("--node", required=True, help="whose pods are fenced")
    parser.add_argument("--netns", help="the node's network namespace, unless the process is in it already")
    parser.add_argument(
        "--managed",
        type=IPv4Network,
        action="append",
        default=[],
        metavar="CIDR",
        help="read policies as Cilium does that manages pods of these addresses, instead of as the API does",
    )
    return parser.parse_args()


async def _until_ended(chosen: argparse.Namespace) -> None:
    enforcing = asyncio.create_task(enforce(chosen.kubeconfig, chosen.node, chosen.managed))
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, enforcing.cancel)
    with suppress(asyncio.CancelledError):
        await enforcing
    apply(ruleset.removal())


def main() -> None:
    chosen = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request
    if shutil.which("nft") is None:
        sys.exit("nft is not on PATH; install nftables")
    try:
        # before there is any other thread: each has a namespace of its own
        if chosen.netns:
            namespaces.enter(chosen.netns)
        asyncio.run(_until_ended(chosen))
    except (namespaces.NamespaceError, UserError) as error:
        sys.exit(str(error))


main()
