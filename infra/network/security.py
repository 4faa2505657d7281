"""Security groups of the OpenStack side. They go on ports, never on servers: a server that names one gets a new port."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

import pulumi
import pulumi_openstack as openstack

from infra.addressing import AddressPlan
from infra.network.appliance import HEALTH_PORT, SSH_PORT
from infra.scope import Scope

ANYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True)
class Rule:
    """What is let in from a network, or from the group's own members where there is none; no port means all."""

    source: pulumi.Input[str] | IPv4Network | None
    protocol: Literal["tcp", "udp"] | None = None
    port: int | None = None


def security_group(
    scope: Scope, site: str, name: str, description: str, rules: Mapping[str, Rule]
) -> openstack.networking.SecGroup:
    """A group with these rules for what comes in. What goes out is open: nodes pull images and reach the cluster."""
    group = openstack.networking.SecGroup(
        name,
        name=scope.naming.physical(name, 255),
        description=description,
        delete_default_rules=True,  # the way out is a rule of the stack's own, below
        tags=scope.naming.tag_list(site),
        opts=scope.child(),
    )
    openstack.networking.SecGroupRule(
        f"{name}-out",
        security_group_id=group.id,
        direction="egress",
        ethertype="IPv4",
        remote_ip_prefix=str(ANYWHERE),
        opts=scope.child(),
    )
    for what, rule in rules.items():
        admit(scope, f"{name}-{what}", group.id, rule)
    return group


def admit(scope: Scope, name: str, group: pulumi.Input[str], rule: Rule) -> openstack.networking.SecGroupRule:
    """One rule for what comes in."""
    members = rule.source is None
    source = str(rule.source) if isinstance(rule.source, IPv4Network) else rule.source
    return openstack.networking.SecGroupRule(
        name,
        security_group_id=group,
        direction="ingress",
        ethertype="IPv4",
        protocol=rule.protocol,
        port_range_min=rule.port,
        port_range_max=rule.port,
        remote_group_id=group if members else None,
        remote_ip_prefix=None if members else source,
        opts=scope.child(),
    )


def node_rules(addresses: AddressPlan) -> dict[str, Rule]:
    """Nodes speak with each other and with the VPC: one cluster, whose own policies divide it further."""
    return {"members": Rule(None), "vpc": Rule(addresses.aws.vpc)}


def gateway_rules(addresses: AddressPlan, admin_networks: tuple[IPv4Network, ...]) -> dict[str, Rule]:
    """The gateway forwards whatever nodes and pods send; its own ports its packet filter guards once more.

    Who may speak IPsec to it is added with the tunnels, address by address.
    """
    return {
        "project": Rule(addresses.openstack.supernet),
        **{f"ssh-{index}": Rule(network, "tcp", SSH_PORT) for index, network in enumerate(admin_networks)},
        **{f"health-{index}": Rule(network, "tcp", HEALTH_PORT) for index, network in enumerate(admin_networks)},
    }
