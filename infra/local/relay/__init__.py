"""The emulated WAN: a relay between the sites' loopback ports with a rate, a delay and an outage switch.

What is emulated: each direction's rate, shared by everything that crosses it; propagation delay, also of the TCP
handshake; and an outage that nobody is told of. What is not: loss, jitter and TCP's own slow start. The rate is that
of TCP payload, which on a real line is about 95 % of the line's.
"""

from infra.local.relay.probe import measure
from infra.local.relay.status import LaneStatus, LinkStatus, Outage

__all__ = ["LaneStatus", "LinkStatus", "Outage", "measure"]
