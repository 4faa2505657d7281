"""What a round puts on the link, and how long it stays there."""

import math

from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Bits

BLOCK = 256  # values that share one scale
SCALE_BYTES = 2


def payload_bytes(parameters: int, bits: Bits) -> int:
    """Bytes of one site's update of `parameters` values: codes and a scale a block, or fp32 values as they are."""
    if bits == 32:
        return 4 * parameters
    return SCALE_BYTES * math.ceil(parameters / BLOCK) + math.ceil(parameters * bits / 8)


def transfer_s(size_bytes: float, link: LinkFacts) -> float:
    """Seconds from the first byte leaving to the last one having arrived, on a link that is free: one round trip more.

    Half of the round trip is the way, the other half the request for the frame.
    """
    return size_bytes * 8 / (link.rate_mbps * 1e6) + link.rtt_ms / 1e3
