"""What the enforcement knows of the cluster: pods, labels of namespaces and policies, read from the API's JSON. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any, Final

from tests.lab.policies.selectors import Labels, Selector

Raw = Mapping[str, Any]

LAST_PORT: Final = 65535
_ENDED: Final = {"Succeeded", "Failed"}  # their addresses may be another pod's by now


@dataclass(frozen=True)
class NamedPort:
    """A port of a container that has a name."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True)
class Pod:
    """A pod with addresses of its own."""

    namespace: str
    name: str
    node: str
    labels: Labels
    addresses: tuple[IPv4Address, ...]
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True)
class PodPeer:
    """Pods by labels; `namespaces` None means those of the policy's own namespace, `pods` None all of a namespace."""

    pods: Selector | None = None
    namespaces: Selector | None = None


@dataclass(frozen=True)
class BlockPeer:
    """Addresses without some of them."""

    cidr: IPv4Network
    without: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True)
class PolicyPort:
    """Ports of a protocol by name or number, `last` inclusive; `port` None means all."""

    protocol: str = "TCP"
    port: int | str | None = None
    last: int | None = None


@dataclass(frozen=True)
class Rule:
    """Peers and ports that go together; none of a kind means that all are let through."""

    peers: tuple[PodPeer | BlockPeer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()
    everyone: bool = False  # no peers were named; else `peers` may be empty, as those of the other address family are


@dataclass(frozen=True)
class Policy:
    """A policy; a direction that is None is left as it is, one without rules denies."""

    namespace: str
    name: str
    pods: Selector
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None


@dataclass(frozen=True)
class Snapshot:
    """The cluster at one moment."""

    pods: tuple[Pod, ...]
    namespaces: Mapping[str, Labels]
    policies: tuple[Policy, ...]


def pod(raw: Raw) -> Pod | None:
    """The pod; None if it has ended, has no IPv4 address yet, or lives in its node's own network."""
    spec, status, metadata = raw["spec"], raw.get("status", {}), raw["metadata"]
    addresses = _addresses(status)
    if spec.get("hostNetwork") or status.get("phase") in _ENDED or not addresses:
        return None
    # a sidecar is an initial container that is restarted always, and serves as long as the others do
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    ports = [
        NamedPort(port["name"], port.get("protocol", "TCP"), port["containerPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if "name" in port
    ]
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec.get("nodeName", ""),
        labels=metadata.get("labels") or {},
        addresses=addresses,
        ports=tuple(ports),
    )


def policy(raw: Raw) -> Policy:
    """The policy.

    Without `policyTypes` it isolates ingress, and egress if it has rules for that; the API server says so for those
    that it has stored.
    """
    metadata, spec = raw["metadata"], raw["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return Policy(
        namespace=metadata["namespace"],
        name=metadata["name"],
        pods=Selector.of(spec.get("podSelector")),
        ingress=_rules(spec.get("ingress"), "from") if "Ingress" in types else None,
        egress=_rules(spec.get("egress"), "to") if "Egress" in types else None,
    )


def _addresses(status: Raw) -> tuple[IPv4Address, ...]:
    listed = status.get("podIPs") or [{"ip": ip} for ip in (status.get("podIP"),) if ip]
    known = (ip_address(entry["ip"]) for entry in listed)
    return tuple(sorted(address for address in known if isinstance(address, IPv4Address)))


def _rules(raw: Sequence[Raw] | None, side: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            peers=tuple(peer for entry in rule.get(side) or () if (peer := _peer(entry)) is not None),
            ports=tuple(_port(entry) for entry in rule.get("ports") or ()),
            everyone=not rule.get(side),
        )
        for rule in raw or ()
    )


def _peer(raw: Raw) -> PodPeer | BlockPeer | None:
    """The peer; None for IPv6, which no pod has here."""
    if (block := raw.get("ipBlock")) is not None:
        cidr = ip_network(block["cidr"], strict=False)
        without = [ip_network(entry, strict=False) for entry in block.get("except") or ()]
        if not isinstance(cidr, IPv4Network):
            return None
        return BlockPeer(cidr, tuple(entry for entry in without if isinstance(entry, IPv4Network)))
    chosen = [None if raw.get(key) is None else Selector.of(raw[key]) for key in ("podSelector", "namespaceSelector")]
    return PodPeer(*chosen)


def _port(raw: Raw) -> PolicyPort:
    return PolicyPort(raw.get("protocol", "TCP"), raw.get("port"), raw.get("endPort"))
