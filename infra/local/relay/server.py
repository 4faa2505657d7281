"""Listeners of the link: each connection is carried there by one direction and back by the other."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from infra.local.relay.direction import Direction
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.launch import RelaySpec

_CHUNK = 1 << 16
PROBE = "probe"
LENGTH_BYTES = 8

Pair = tuple[str, str]


class Relay:
    """The link of a `RelaySpec`, with one probe listener a direction whose far end counts bytes and answers."""

    def __init__(self, spec: RelaySpec) -> None:
        self._spec = spec
        delay_s = spec.rtt_ms / 2e3
        self._directions: dict[Pair, Direction] = {
            pair: Direction(spec.rate_mbps, delay_s)
            for channel in spec.channels
            for pair in ((channel.source, channel.destination), (channel.destination, channel.source))
        }
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._probes: dict[str, int] = {}
        self._outage = False
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen everywhere. Raises `UserError` when a port is in use, with nothing left listening."""
        try:
            for channel in self._spec.channels:
                pair = (channel.source, channel.destination)
                await self._listen(channel.listen, pair, channel.target, channel.purpose)
            sink = await asyncio.start_server(_count_and_answer, "127.0.0.1", 0)
            self._servers.append(sink)
            target = Endpoint(port=sink.sockets[0].getsockname()[1])
            for pair in self._directions:
                self._probes[">".join(pair)] = await self._listen(0, pair, target, PROBE)
        except OSError as error:
            await self.close()
            raise UserError(f"the link cannot listen: {error.strerror or error}; set isthmus:local.base_port") from None

    async def close(self) -> None:
        """End every connection and listener."""
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def set_outage(self, *, on: bool, seconds: float | None = None) -> None:
        """Cut the link, for `seconds` if given, or join it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outage = on
        for direction in self._directions.values():
            direction.cut(on=on)
        if on and seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, lambda: self.set_outage(on=False))

    def status(self) -> dict[str, Any]:
        """Figures for people and for the measurement, JSON values."""
        return {
            "rate_mbps": self._spec.rate_mbps,
            "rtt_ms": self._spec.rtt_ms,
            "outage": self._outage,
            "connections": len(self._connections),
            "probes": self._probes,
            "bytes": {">".join(pair): dict(direction.delivered) for pair, direction in self._directions.items()},
        }

    async def _listen(self, port: int, pair: Pair, target: Endpoint, purpose: str) -> int:
        there, back = self._directions[pair], self._directions[pair[1], pair[0]]

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a coroutine runs in a task
            self._connections.add(task)
            try:
                await _carry(reader, writer, target, (there, back), purpose)
            except asyncio.CancelledError:  # the relay is closing; the streams have nobody else to tell
                return
            finally:
                self._connections.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", port, limit=_CHUNK)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: Endpoint,
    ways: Sequence[Direction],
    purpose: str,
) -> None:
    there, back = ways
    try:
        await there.up()  # an outage lets no handshake through
        far_reader, far_writer = await asyncio.open_connection(target.host, target.port, limit=_CHUNK)
    except OSError:
        writer.transport.abort()  # refused over there is refused here
        return
    pumps = [
        asyncio.ensure_future(_pump(reader, far_writer, there, purpose)),
        asyncio.ensure_future(_pump(far_reader, writer, back, purpose)),
    ]
    try:
        await asyncio.gather(*pumps)
    except OSError:
        writer.transport.abort()  # one end reset the connection, so the other end is told
        far_writer.transport.abort()
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction, purpose: str) -> None:
    """Carry bytes until the end of the stream. What is under way is at most rate x delay, since sending is paced."""
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            at, data = await line.get()
            await way.arrive(at, len(data), purpose)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    delivery = asyncio.ensure_future(deliver())
    try:
        while data := await reader.read(_CHUNK):
            line.put_nowait((await way.send(len(data)), data))
            if delivery.done():
                break
        line.put_nowait((await way.send(0), b""))
        await delivery
    finally:
        delivery.cancel()


async def _count_and_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Far end of a probe: an 8-byte length, that many bytes, then one byte back; again until the stream ends."""
    try:
        while True:
            left = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            while left > 0:
                data = await reader.read(min(left, _CHUNK))
                if not data:
                    return
                left -= len(data)
            writer.write(b"k")
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        return
    finally:
        writer.close()
