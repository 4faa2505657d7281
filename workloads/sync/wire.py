"""What two exchanges agree on: method names, requests, sizes and patience."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import NonNegativeInt, PositiveInt

from workloads.spec.base import Frozen, Name, Sha256, SiteName
from workloads.sync.council import Standing, View
from workloads.sync.payload import UpdateFormat

FormOf = Callable[[int], UpdateFormat]  # of a turn's frames

SERVICE = "isthmus.sync.Exchange"
FETCH = "Fetch"  # FetchRequest -> header, payload in chunks; an empty stream: not published yet, ask again
MEET = "Meet"  # Greeting -> Announcement
CONFER = "Confer"  # StandingRequest -> Standing
HEAL = "Heal"  # HealRequest -> header, payload in chunks; an empty stream: not there yet, ask again
ANSWERED_BY = "isthmus-site"  # initial metadata of an answer to FETCH: what the request acknowledges is noted

CHUNK_BYTES = 256 << 10
_MESSAGE_PREFIX_BYTES = 5  # gRPC over HTTP/2, "Length-Prefixed-Message"
_HTTP2_FRAME_BYTES = 16 << 10  # RFC 9113, 4.2
_HTTP2_FRAME_HEADER_BYTES = 9  # RFC 9113, 4.1
_LOOKAHEAD_BYTES = 4 << 20  # receive window: 4 MiB fill 1 Gbit/s at 30 ms


class Greeting(Frozen):
    """Who calls, in which run, about which part of the model."""

    run_id: Name
    site: SiteName
    part: NonNegativeInt


class FetchRequest(Greeting):
    """Asks for `turn`'s frame from byte `offset` of its payload on, and says that all earlier turns' have arrived."""

    turn: PositiveInt
    offset: NonNegativeInt
    origin: SiteName | None = None  # whose frame, if it is to be passed on; then it says nothing of earlier turns


class StandingRequest(Greeting):
    """What the caller stands for in the agreement upon the cohort."""

    standing: Standing


class HealRequest(Greeting):
    """Asks for the outer state that `turn` begins with, from byte `offset` on."""

    turn: PositiveInt
    offset: NonNegativeInt


class HealHeader(Frozen):
    """What precedes an outer state."""

    run_id: Name
    site: SiteName
    part: NonNegativeInt
    turn: PositiveInt
    payload_bytes: PositiveInt
    checksum: Sha256


class Announcement(Frozen):
    """After which rounds a site can go on with a peer; None: it does not know yet, ask again.

    `is_living`: the peer has frames of its own already, and will not start again with the caller.
    """

    rounds: tuple[NonNegativeInt, ...] | None
    views: tuple[View, ...]
    is_living: bool


@dataclass(frozen=True)
class Patience:
    """Times of an exchange, in seconds. A link that is silently dead is noticed after `keepalive_s` + `keepalive_wait_s`."""

    poll_s: float = 20.0  # a server lets a request wait for so long
    retry_s: float = 0.1  # before the first new attempt; doubled for each further one
    longest_retry_s: float = 2.0
    connect_s: float = 10.0  # for TCP and TLS together: some round trips, perhaps behind a full window of data
    keepalive_s: float = 10.0
    keepalive_wait_s: float = 20.0  # an answer may queue behind a full window of data: 4 MiB at 2 Mbit/s take 17 s
    notice_s: float = 5.0  # a link that is down for longer is logged
    confer_s: float = 5.0  # for an answer about the cohort
    relay_s: float = 60.0  # a frame that is missing for longer is asked of the other sites
    farewell_s: float = 5.0  # for the last acknowledgement, and for requests that are open at the end

    def options(self) -> list[tuple[str, int]]:
        """Channel arguments of gRPC, for servers and clients."""
        return [
            ("grpc.keepalive_time_ms", _ms(self.keepalive_s)),
            ("grpc.keepalive_timeout_ms", _ms(self.keepalive_wait_s)),
            ("grpc.http2.ping_timeout_ms", _ms(self.keepalive_wait_s)),  # else a minute, whatever the line above says
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.max_ping_strikes", 0),  # a server must not take keepalive for an attack
            ("grpc.initial_reconnect_backoff_ms", _ms(self.retry_s)),
            ("grpc.min_reconnect_backoff_ms", _ms(self.connect_s)),  # time for an attempt
            ("grpc.max_reconnect_backoff_ms", _ms(self.longest_retry_s)),
            ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
            ("grpc.max_receive_message_length", CHUNK_BYTES + (64 << 10)),
            (
                "grpc.enable_http_proxy",
                0,
            ),  # endpoints are the link's own; a proxy of the environment knows nothing of it
            ("grpc.so_reuseport", 0),  # a port in use is an error, not shared
        ]


def wire_bytes(message_bytes: int) -> int:
    """What a message takes on the link with gRPC's and HTTP/2's data framing, before TLS."""
    framed = message_bytes + _MESSAGE_PREFIX_BYTES
    return framed + _HTTP2_FRAME_HEADER_BYTES * math.ceil(framed / _HTTP2_FRAME_BYTES)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
