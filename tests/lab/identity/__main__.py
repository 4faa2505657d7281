"""`python -m tests.lab.identity serve …` on each node, in its network; `… manifests` prints what the cluster needs."""

import argparse
from pathlib import Path

import yaml

from infra.cloud_contracts import NAMESPACES
from tests.lab.identity.admission import manifests
from tests.lab.identity.agent import ADDRESS, server
from tests.lab.identity.doors import ApiServer, Emulator


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.lab.identity", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("manifests", help="the admission policy, as YAML")
    serve = commands.add_parser("serve", help="answer the pods of this network")
    serve.add_argument("--kubeconfig", type=Path, required=True, help="of one who may review tokens")
    serve.add_argument("--cluster", required=True, help="name of the EKS cluster")
    serve.add_argument("--eks", required=True, help="URL of the emulator")
    serve.add_argument("--region", default="us-east-1")
    serve.add_argument("--port", type=int, default=80)
    chosen = parser.parse_args()
    if chosen.command == "manifests":
        print(yaml.safe_dump_all(manifests(NAMESPACES), sort_keys=False), end="")  # noqa: T201
        return
    account = Emulator(chosen.cluster, chosen.eks, chosen.region)
    with server((ADDRESS, chosen.port), ApiServer(chosen.kubeconfig), account) as answering:
        answering.serve_forever()


if __name__ == "__main__":
    main()
