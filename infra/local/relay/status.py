"""What the relay's control port says and takes, as JSON."""

from pydantic import NonNegativeInt, PositiveFloat

from workloads.spec.base import Frozen, Name, Port, SiteName


class LaneStatus(Frozen):
    """One direction of one link. `delivered` counts payload bytes that came out at the far end, by purpose."""

    source: SiteName
    destination: SiteName
    delivered: dict[Name, NonNegativeInt]
    probe: Port  # connections to it cross this direction and end in a sink, see `probe`


class LinkStatus(Frozen):
    """Answer to GET /status and to POST /outage."""

    rate_mbps: float
    rtt_ms: float
    outage: bool
    connections: NonNegativeInt
    lanes: tuple[LaneStatus, ...]


class Outage(Frozen):
    """Body of POST /outage. Without `seconds` an outage lasts until it is switched off."""

    on: bool
    seconds: PositiveFloat | None = None
