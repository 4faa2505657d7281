"""The emulated WAN of the local stack: a user-space TCP relay with rate, delay and an outage switch."""

from infra.local.relay.measurement import measure

__all__ = ["measure"]
