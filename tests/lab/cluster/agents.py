"""What stands on a node beside Kubernetes, each where its module is there; and the ways to the clouds' stores."""

import sys
from importlib.util import find_spec
from pathlib import Path

from infra.cloud_contracts import NAMESPACES
from tests.lab.cluster.control_plane import inside
from tests.lab.cluster.layout import CONTROL, OPENSTACK, Layout
from tests.lab.cluster.plan import Node, Plan
from tests.lab.cluster.system import Manifest
from tests.lab.daemons import Daemon

EKS_CLUSTER = "isthmus-lab"
"""As the stack calls it."""


def of_node(layout: Layout, plan: Plan, node: Node) -> list[Daemon]:
    """Who gives pods their AWS identity, and who enforces network policies, read on OpenStack as Cilium reads them."""
    made = []
    python = (sys.executable, "-m")
    if find_spec("tests.lab.identity"):
        endpoint = f"http://{plan.aws.gateway.ip}:{plan.aws.store_port}"
        options = ("--kubeconfig", layout.kubeconfig, "--cluster", EKS_CLUSTER, "--eks", endpoint)
        command = inside(node.namespace, *python, "tests.lab.identity", "serve", *options)
        made.append(Daemon(f"{node.name}.identity", command, layout.run))
    if find_spec("tests.lab.policies"):
        managed = ("--managed", str(node.pods)) if node.router == OPENSTACK else ()
        options = ("--kubeconfig", layout.kubeconfig, "--node", node.name, "--netns", node.namespace, *managed)
        made.append(Daemon(f"{node.name}.policies", (*python, "tests.lab.policies", *map(str, options)), layout.run))
    return made


def relays(layout: Layout, plan: Plan) -> list[Daemon]:
    """At each site's own address, for its pods and for this machine, which reaches either store without the link."""
    program = (sys.executable, "-I", Path(__file__).with_name("relay.py"))
    return [
        Daemon(
            f"relay-{site.store_port}-{namespace}",
            (*program, namespace, str(site.gateway.ip), str(site.store_port), str(site.store_port)),
            layout.run,
        )
        for site in plan.sites
        for namespace in (site.namespace, CONTROL)
    ]


def manifests() -> list[Manifest]:
    """What the agents need in the cluster."""
    if not find_spec("tests.lab.identity"):
        return []
    from tests.lab.identity.admission import manifests as of_identity  # noqa: PLC0415 - a part of its own

    return of_identity(NAMESPACES)
