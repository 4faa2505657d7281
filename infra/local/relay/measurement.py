"""What the link really gives, measured through it: the figures that become stack outputs."""

import asyncio
import time

from infra.local.probes import get_json
from infra.local.relay.server import LENGTH_BYTES
from workloads.spec.errors import UserError
from workloads.spec.launch import LinkFacts, RelaySpec

_PINGS = 5
_SECONDS_OF_LOAD = 0.5
_MAX_LOAD_BYTES = 16 << 20


async def measure(spec: RelaySpec) -> LinkFacts:
    """Round-trip time (the least of several, ms) and rate (Mbit/s of payload) in the link's first direction.

    Raises:
        UserError: the relay does not answer.
    """
    status = await get_json(f"http://127.0.0.1:{spec.control}/status")
    if status is None:
        raise UserError(f"the link on port {spec.control} does not answer; run `make up` to start it again")
    reader, writer = await asyncio.open_connection("127.0.0.1", next(iter(status["probes"].values())))
    try:
        rtt_s = min([await _send(reader, writer, 1) for _ in range(_PINGS)])
        load = min(_MAX_LOAD_BYTES, max(1 << 16, int(spec.rate_mbps * 1e6 / 8 * _SECONDS_OF_LOAD)))
        seconds = await _send(reader, writer, load)
    finally:
        writer.close()
        await writer.wait_closed()
    return LinkFacts(rate_mbps=load * 8 / 1e6 / max(1e-6, seconds - rtt_s), rtt_ms=rtt_s * 1e3)


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> float:
    """Seconds from the first byte sent to the answer that all have arrived."""
    start = time.perf_counter()
    writer.write(size.to_bytes(LENGTH_BYTES, "big") + bytes(size))
    await writer.drain()
    await reader.readexactly(1)
    return time.perf_counter() - start
