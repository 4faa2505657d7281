"""Which range of addresses may be whose, and which one to take instead. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import combinations

from infra.fields import PRIVATE_NETWORKS
from workloads.spec.errors import UserError

RESERVED = {
    IPv4Network("172.17.0.0/16"): "the range of Docker's bridge on every host, which some AWS services use too",
}
"""What no range may touch, from AWS's guide on VPC CIDR blocks. All outside RFC 1918 is refused when settings are read."""


@dataclass(frozen=True)
class Claim:
    """A range that somebody wants, by the name that an error calls it, with the sizes that it may have."""

    name: str
    network: IPv4Network
    widest: int = 8  # prefix lengths
    narrowest: int = 32
    limit: str = ""  # why so


def refuse_unfit(claims: Sequence[Claim], beside: Sequence[Claim] = ()) -> None:
    """Check the size of each claim, and that it touches nothing reserved and none of the others, nor those `beside`.

    Raises:
        UserError: the first claim that does not fit, with a range that does.
    """
    for claim in claims:
        taken = [other.network for other in (*claims, *beside) if other is not claim]
        if not claim.widest <= claim.network.prefixlen <= claim.narrowest:
            raise UserError(
                f"{claim.name} {claim.network} is outside /{claim.widest} to /{claim.narrowest}: {claim.limit}; "
                f"{instead(claim, taken)}"
            )
        for network, why in RESERVED.items():
            if claim.network.overlaps(network):
                raise UserError(f"{claim.name} {claim.network} overlaps {network}, {why}; {instead(claim, taken)}")
    for first, second in (*combinations(claims, 2), *((other, claim) for claim in claims for other in beside)):
        if first.network.overlaps(second.network):
            taken = [other.network for other in (*claims, *beside) if other is not second]
            raise UserError(
                f"{second.name} {second.network} overlaps {first.name} {first.network}; {instead(second, taken)}"
            )


def instead(claim: Claim, taken: Iterable[IPv4Network], prefix: int | None = None) -> str:
    """The remedy: a free range of the claim's size, or of the nearest that it may have, inside itself if there is one."""
    wanted = min(max(claim.network.prefixlen if prefix is None else prefix, claim.widest), claim.narrowest)
    beside = list(taken)
    for length in range(wanted, claim.narrowest + 1):
        found = free_range(length, beside, (claim.network, *PRIVATE_NETWORKS))
        if found is not None:
            return f"pick {found}"
    return f"nothing of /{claim.narrowest} is left in RFC 1918; make {max(beside, key=_size)} smaller"


def free_range(prefix: int, taken: Iterable[IPv4Network], pools: Iterable[IPv4Network]) -> IPv4Network | None:
    """The first network of a prefix length in `pools` that touches neither `taken` nor anything reserved, if any."""
    blocked = [*taken, *RESERVED]
    for pool in pools:
        if prefix < pool.prefixlen:
            continue
        size, start = 1 << (32 - prefix), int(pool.network_address)
        while start <= int(pool.broadcast_address):
            candidate = IPv4Network((start, prefix))
            ends = [int(other.broadcast_address) for other in blocked if other.overlaps(candidate)]
            if not ends:
                return candidate
            start = (max(ends) // size + 1) * size  # over all that stands in the way, at once
    return None


def _size(network: IPv4Network) -> int:
    return network.num_addresses
