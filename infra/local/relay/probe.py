"""Measuring the link through itself: probes share lanes, queues and delays with everything else."""

import asyncio
import struct
import time
from itertools import pairwise

from infra.local.probes import get_json
from infra.local.relay.status import LinkStatus
from workloads.spec.errors import UserError
from workloads.spec.launch import LinkFacts, RelaySpec

PURPOSE = "probe"
_HEADER = struct.Struct("!Q")
_ACK = b"."
_CHUNK = 1 << 18
_PINGS = 5
_BURSTS = 3
_BURST_S = 0.15
_BURST_MIN, _BURST_MAX = 4 << 10, 32 << 20


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Far end of a probe: reads a length and as many bytes, then says that it has them, until the end."""
    try:
        while True:
            (left,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            while left:
                data = await reader.read(min(left, _CHUNK))
                if not data:
                    return
                left -= len(data)
            writer.write(_ACK)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def measure(spec: RelaySpec) -> LinkFacts:
    """Rate and round-trip time of the running relay of `spec`: the least rate and the longest trip of all directions.

    Rate: the best of three bursts, each 0.15 s long at the rate that was asked for; other work on the machine can only
    make a burst slower. Round trip: the shortest of five. About a second for two sites of 100 Mbit/s and 30 ms.

    Raises:
        UserError: no relay answers, or it carries nothing.
    """
    answer = await get_json(f"http://127.0.0.1:{spec.control}/status")
    if answer is None:
        raise UserError(f"no link answers on port {spec.control}; run `make up`, which starts it")
    probes = {(lane.source, lane.destination): lane.probe for lane in LinkStatus.model_validate(answer).lanes}
    if not probes:
        raise UserError(f"the link on port {spec.control} has no channels; give it those of at least two sites")
    # the two directions of a link would meet in each other's queues; different links do not
    links = [[(a, b), (b, a)] for a, b in probes if a < b]
    limit_s = 30 + 40 * spec.rtt_ms / 1e3
    try:
        async with asyncio.timeout(limit_s):
            facts = await asyncio.gather(*(_measure_link([probes[d] for d in link], spec) for link in links))
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        raise UserError(
            f"the link on port {spec.control} carried no probe within {limit_s:.0f} s; end its outage: "
            f"""curl -d '{{"on": false}}' http://127.0.0.1:{spec.control}/outage"""
        ) from None
    return LinkFacts(rate_mbps=min(fact.rate_mbps for fact in facts), rtt_ms=max(fact.rtt_ms for fact in facts))


async def _measure_link(ports: list[int], spec: RelaySpec) -> LinkFacts:
    facts = [await _measure_direction(port, spec.rate_mbps) for port in ports]
    return LinkFacts(rate_mbps=min(fact.rate_mbps for fact in facts), rtt_ms=max(fact.rtt_ms for fact in facts))


async def _measure_direction(port: int, nominal_mbps: float) -> LinkFacts:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await _time(reader, writer, 1)  # the handshake's round trip is not the link's
        trip_s = min([await _time(reader, writer, 1) for _ in range(_PINGS)])
        size = round(min(max(nominal_mbps * 1e6 / 8 * _BURST_S, _BURST_MIN), _BURST_MAX))
        bursts = [await _time(reader, writer, size) - trip_s for _ in range(_BURSTS)]
        return LinkFacts(rate_mbps=size * 8 / 1e6 / min(bursts), rtt_ms=trip_s * 1e3)
    finally:
        writer.close()


async def _time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> float:
    """Seconds from the first byte of `size` to the word that all have arrived."""
    chunk = bytes(min(size, _CHUNK))
    begin = time.perf_counter()
    writer.write(_HEADER.pack(size))
    edges = [*range(0, size, len(chunk)), size]
    for start, end in pairwise(edges):
        writer.write(chunk[: end - start])
        await writer.drain()
    await reader.readexactly(len(_ACK))
    return time.perf_counter() - begin
