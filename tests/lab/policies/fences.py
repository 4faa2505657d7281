"""What the policies of a cluster mean for the pods of one node, in addresses and ports. Pure.

https://kubernetes.io/docs/concepts/services-networking/network-policies/

Cilium reads them more strictly, which `managed` asks for: a selector chooses none but pods that Cilium manages, and a
block chooses everything but those. https://docs.cilium.io/en/stable/security/policy/language/#ip-cidr-based
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

from tests.lab.policies.objects import LAST_PORT, BlockPeer, Pod, PodPeer, Policy, PolicyPort, Rule, Snapshot

EVERYWHERE: Final = (IPv4Network("0.0.0.0/0"),)


@dataclass(frozen=True, order=True)
class Span:
    """Ports of a protocol, `last` inclusive."""

    protocol: str
    first: int = 0
    last: int = LAST_PORT

    def holds(self, protocol: str, port: int) -> bool:
        return self.protocol == protocol and self.first <= port <= self.last


@dataclass(frozen=True, order=True)
class Allowance:
    """Between pods of this node and peers new connections may begin; without spans on every protocol there is."""

    policy: str  # namespace/name
    own: tuple[IPv4Address, ...]
    peers: tuple[IPv4Network, ...]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Fence:
    """One direction: pods that have been isolated, and what they may nonetheless."""

    isolated: tuple[IPv4Address, ...]
    allowances: tuple[Allowance, ...]

    def lets(self, own: IPv4Address, peer: IPv4Address, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection between a pod of this node and a peer may begin, as far as this direction goes."""
        return own not in self.isolated or any(
            own in allowance.own
            and any(peer in network for network in allowance.peers)
            and (not allowance.spans or any(span.holds(protocol, port) for span in allowance.spans))
            for allowance in self.allowances
        )


@dataclass(frozen=True)
class Fences:
    """Both directions of a node, and all of its pods' addresses."""

    own: tuple[IPv4Address, ...]
    ingress: Fence
    egress: Fence


@dataclass(frozen=True)
class _Side:
    """Pods by address, or a block, at the other end of a rule."""

    network: IPv4Network
    pod: Pod | None


def fences(snapshot: Snapshot, node: str, managed: Sequence[IPv4Network] = ()) -> Fences:
    """What the node's kernel has to know; `managed` are the ranges of pods that Cilium knows, none reads by the API."""
    own = [pod for pod in snapshot.pods if pod.node == node]
    everyone = _Peers(snapshot, managed)
    return Fences(
        own=_addresses(own),
        ingress=_fence(everyone, own, lambda policy: policy.ingress, _arriving),
        egress=_fence(everyone, own, lambda policy: policy.egress, _leaving),
    )


@dataclass(frozen=True)
class _Peers:
    """Whoever may be at the other end."""

    snapshot: Snapshot
    managed: Sequence[IPv4Network]

    def of(self, rule: Rule, space: str) -> Iterator[_Side]:
        """The ends that a rule of a policy in `space` chooses."""
        if rule.everyone:
            # by pod as well: a port's name is known for pods alone
            yield from (_Side(network, pod) for network, pod in self._pods())
            yield _Side(EVERYWHERE[0], None)
        for peer in rule.peers:
            if isinstance(peer, BlockPeer):
                yield from (_Side(network, None) for network in self._block(peer))
            else:
                yield from (_Side(network, pod) for network, pod in self._pods() if self._chooses(peer, pod, space))

    def _pods(self) -> Iterator[tuple[IPv4Network, Pod]]:
        for pod in self.snapshot.pods:
            for address in pod.addresses:
                if not self.managed or self._is_managed(address):
                    yield IPv4Network(address), pod

    def _is_managed(self, address: IPv4Address) -> bool:
        return any(address in network for network in self.managed)

    def _chooses(self, peer: PodPeer, pod: Pod, space: str) -> bool:
        spaces = self.snapshot.namespaces
        if peer.namespaces is None:
            here = pod.namespace == space
        else:
            # the pods of a namespace may be seen before the namespace is
            here = pod.namespace in spaces and peer.namespaces.matches(spaces[pod.namespace])
        return here and (peer.pods is None or peer.pods.matches(pod.labels))

    def _block(self, peer: BlockPeer) -> list[IPv4Network]:
        left = [peer.cidr]
        for hole in (*peer.without, *self.managed):
            left = [part for network in left for part in _outside(network, hole)]
        return left


Narrow = Callable[[str, Sequence[Pod], Sequence[_Side], Rule], Iterator[Allowance]]


def _fence(
    everyone: _Peers, own: Sequence[Pod], direction: Callable[[Policy], tuple[Rule, ...] | None], narrow: Narrow
) -> Fence:
    isolated: set[IPv4Address] = set()
    allowances: set[Allowance] = set()
    for policy in everyone.snapshot.policies:
        rules = direction(policy)
        chosen = [pod for pod in own if pod.namespace == policy.namespace and policy.pods.matches(pod.labels)]
        if rules is None or not chosen:
            continue
        isolated.update(_addresses(chosen))
        for rule in rules:
            if sides := list(everyone.of(rule, policy.namespace)):
                allowances.update(narrow(f"{policy.namespace}/{policy.name}", chosen, sides, rule))
    return Fence(tuple(sorted(isolated)), tuple(sorted(allowances)))


def _outside(network: IPv4Network, hole: IPv4Network) -> Iterable[IPv4Network]:
    if not network.overlaps(hole):
        return [network]
    return network.address_exclude(hole) if hole.subnet_of(network) and hole != network else []


def _arriving(policy: str, own: Sequence[Pod], sides: Sequence[_Side], rule: Rule) -> Iterator[Allowance]:
    """Ports are those of the node's own pods, by whose names they go."""
    peers = _collapsed(sides)
    by_spans: dict[tuple[Span, ...], list[Pod]] = defaultdict(list)
    for pod in own:
        by_spans[_spans(rule.ports, pod)].append(pod)
    for spans, pods in by_spans.items():
        if spans or not rule.ports:
            yield Allowance(policy, _addresses(pods), peers, spans)


def _leaving(policy: str, own: Sequence[Pod], sides: Sequence[_Side], rule: Rule) -> Iterator[Allowance]:
    """Ports are those of the peers."""
    by_spans: dict[tuple[Span, ...], list[_Side]] = defaultdict(list)
    for side in sides:
        by_spans[_spans(rule.ports, side.pod)].append(side)
    for spans, alike in by_spans.items():
        if spans or not rule.ports:
            yield Allowance(policy, _addresses(own), _collapsed(alike), spans)


def _spans(ports: Sequence[PolicyPort], listener: Pod | None) -> tuple[Span, ...]:
    """Ports as numbers, where names are those of the listener's containers; one without that name has none of it."""
    spans: list[Span] = []
    for port in ports:
        if port.port is None:
            spans.append(Span(port.protocol))
        elif isinstance(port.port, int):
            spans.append(Span(port.protocol, port.port, port.last or port.port))
        elif listener is not None:
            spans.extend(
                Span(port.protocol, named.number, named.number)
                for named in listener.ports
                if (named.name, named.protocol) == (port.port, port.protocol)
            )
    return _merged(spans)


def _merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same ports without overlaps, which a set in the kernel refuses."""
    merged: list[Span] = []
    for span in sorted(spans):
        last = merged[-1] if merged else None
        if last and last.protocol == span.protocol and span.first <= last.last + 1:
            merged[-1] = Span(last.protocol, last.first, max(last.last, span.last))
        else:
            merged.append(span)
    return tuple(merged)


def _collapsed(sides: Iterable[_Side]) -> tuple[IPv4Network, ...]:
    return tuple(sorted(collapse_addresses(side.network for side in sides)))


def _addresses(pods: Iterable[Pod]) -> tuple[IPv4Address, ...]:
    return tuple(sorted({address for pod in pods for address in pod.addresses}))
