"""Fences as an nftables ruleset. Pure.

Policies go by pods' own addresses, so the chain stands in forward: what kube-proxy does to a service's address it has
done in prerouting. Packets that a bridge passes between two pods come by there too (`bridge-nf-call-iptables`). What a
node and its own pods say to each other is never forwarded, and Kubernetes wants that let through.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from tests.lab.policies.fences import EVERYWHERE, Allowance, Fence, Fences, Span
from tests.lab.policies.objects import LAST_PORT

TABLE: Final = "inet isthmus-policies"
REFUSED: Final = "refused"
"""A set of connections that were not let through, of the last hour: it outlives a change of rules."""

_LONGEST_COMMENT = 127  # bytes, by the kernel's NFTNL_UDATA_COMMENT_MAXLEN
_FRAME = f"""\
table {TABLE} {{
	set {REFUSED} {{
		type ipv4_addr . ipv4_addr . inet_proto . inet_service
		size 4096
		flags dynamic,timeout
		timeout 1h
	}}
	chain leaving {{
	}}
	chain arriving {{
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
	}}
}}
flush table {TABLE}
"""
_NOTE = f"meta l4proto {{ tcp, udp, sctp }} update @{REFUSED} {{ ip saddr . ip daddr . meta l4proto . th dport }}"


def ruleset(known: Fences) -> str:
    """A script for `nft -f`, which puts all of it in place of what was there, in one transaction."""
    return (
        f"{_FRAME}table {TABLE} {{\n"
        f"{_chain('leaving', [*_rules(known.egress, 'saddr', 'daddr'), _NOTE, 'counter drop'])}"
        f"{_chain('arriving', [*_rules(known.ingress, 'daddr', 'saddr'), _NOTE, 'counter drop'])}"
        f"{_chain('forward', _entry(known))}}}\n"
    )


def removal() -> str:
    """A script that takes all of it away, whether it is there or not."""
    return f"table {TABLE} {{\n}}\ndelete table {TABLE}\n"


def _entry(known: Fences) -> Iterator[str]:
    yield "ct state established,related accept"
    # pods have no IPv6 addresses but those that every device gives itself, and no policy knows them
    yield "meta nfproto ipv6 drop"
    if known.own:
        # by a service a pod may come back to itself, which no policy can forbid
        yield f"ip saddr . ip daddr {_set(f'{address} . {address}' for address in known.own)} accept"
    if known.egress.isolated:
        yield f"ip saddr {_set(known.egress.isolated)} jump leaving"
    if known.ingress.isolated:
        yield f"ip daddr {_set(known.ingress.isolated)} jump arriving"


def _rules(fence: Fence, own: str, peer: str) -> Iterator[str]:
    for allowance in fence.allowances:
        where = f"ip {own} {_set(allowance.own)}"
        if allowance.peers != EVERYWHERE:
            where += f" ip {peer} {_set(allowance.peers)}"
        for ports in _ports(allowance):
            yield f'{where}{ports} counter return comment "{allowance.policy[:_LONGEST_COMMENT]}"'


def _ports(allowance: Allowance) -> Iterator[str]:
    if not allowance.spans:
        yield ""
    for protocol, spans in groupby(allowance.spans, key=lambda span: span.protocol.lower()):
        listed = list(spans)
        everything = any((span.first, span.last) == (0, LAST_PORT) for span in listed)
        yield f" meta l4proto {protocol}" if everything else f" {protocol} dport {_set(map(_interval, listed))}"


def _interval(span: Span) -> str:
    return str(span.first) if span.first == span.last else f"{span.first}-{span.last}"


def _set(elements: Iterable[object]) -> str:
    return f"{{ {', '.join(map(str, elements))} }}"


def _chain(name: str, rules: Iterable[str]) -> str:
    return "\n".join([f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}\n"])
