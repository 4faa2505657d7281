"""What the OpenStack side may reach on the AWS side: rules of the security group that control plane and nodes share."""

from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from infra.addressing import AddressPlan
from infra.scope import Scope


@dataclass(frozen=True)
class Opening:
    """Ports for a purpose. Of ICMP, `first` and `last` are type and code."""

    name: str
    protocol: str
    first: int
    last: int
    purpose: str
    to_nodes_too: bool = False  # whether the hosts may, beside their pods


OPENINGS: Final = (
    # https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-networking.html
    Opening("api", "tcp", 443, 443, "API server", to_nodes_too=True),
    Opening("kubelet", "tcp", 10250, 10250, "kubelets, for what measures nodes from the other side"),
    Opening("dns-udp", "udp", 53, 53, "CoreDNS on AWS, while the other side's is away"),
    Opening("dns-tcp", "tcp", 53, 53, "CoreDNS on AWS, while the other side's is away"),
    # https://istio.io/latest/docs/ops/deployment/application-requirements/
    Opening("istiod", "tcp", 15012, 15012, "certificates and configuration of sidecars"),
    Opening("registry", "tcp", 5000, 5000, "model registry"),
    Opening("serving", "tcp", 8080, 8081, "inference and its health, on failover"),
    Opening("training", "tcp", 7399, 7527, "rendezvous and exchange between sites"),
    Opening("path-mtu", "icmp", 3, 4, "fragmentation needed: without it a narrower path is a black hole", True),
)
"""No webhook is here: the control plane reaches those on its own side, and the other side has none."""


def admit(scope: Scope, site: str, group: pulumi.Input[str], addresses: AddressPlan) -> tuple[pulumi.Resource, ...]:
    """Declare the rules, one a port range and source."""
    rules: list[pulumi.Resource] = []
    for opening in OPENINGS:
        sources = {"pods": addresses.openstack.pods}
        if opening.to_nodes_too:
            sources["nodes"] = addresses.openstack.nodes
        rules += [
            aws.vpc.SecurityGroupIngressRule(
                f"{site}-from-{kind}-{opening.name}",
                security_group_id=group,
                description=f"OpenStack {kind}: {opening.purpose}",
                ip_protocol=opening.protocol,
                from_port=opening.first,
                to_port=opening.last,
                cidr_ipv4=str(network),
                tags=scope.naming.tags(f"from-{kind}-{opening.name}", site),
                opts=scope.child(),
            )
            for kind, network in sources.items()
        ]
    return tuple(rules)
