"""Connections over the emulated WAN: real sockets, virtual time."""

import asyncio
import contextlib
import random
import socket
import struct
from contextlib import asynccontextmanager

import pytest

from infra.local.relay import Outage
from infra.local.relay.server import Relay
from tests.kit import virtual_time
from tests.kit.ports import free_ports
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.launch import RelayChannel, RelaySpec

A, B = "aws-1", "os-1"
THERE, BACK = (A, B), (B, A)
PAYLOAD = random.Random(7).randbytes(700_001)


class Link:
    """A relay with one target for each of its channels, each of which answers with what `behave` does."""

    def __init__(self, relay, listen, heard):
        self.relay = relay
        self.heard = heard  # by channel: what targets have read so far
        self.open = []
        self._listen = listen

    async def connect(self, direction=THERE, purpose="training"):
        return await self.connect_to(self._listen[*direction, purpose])

    async def connect_to(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self.open.append(writer)
        return reader, writer

    async def exchange(self, payload, direction=THERE, purpose="training"):
        """Send all, half-close, and read the answer to its end."""
        reader, writer = await self.connect(direction, purpose)
        writer.write(payload)
        writer.write_eof()
        return await reader.read()

    def delivered(self, direction):
        return next(
            lane.delivered for lane in self.relay.status().lanes if (lane.source, lane.destination) == direction
        )

    async def settle(self, wanted):
        while not wanted():  # noqa: ASYNC110 - the relay tells nobody
            await asyncio.sleep(0.01)


async def echo(reader, writer, heard):
    while data := await reader.read(1 << 16):
        heard.extend(data)
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def running_link(behave=echo, rate_mbps=80.0, rtt_ms=30.0):
    channels, heard, listen, servers, accepted = [], {}, {}, [], []
    for (source, destination), purpose in [(THERE, "training"), (THERE, "serving"), (BACK, "training")]:
        key = source, destination, purpose
        heard[key] = bytearray()

        async def serve(reader, writer, key=key):
            accepted.append(writer)
            with contextlib.suppress(ConnectionError):
                await behave(reader, writer, heard[key])

        server = await asyncio.start_server(serve, "127.0.0.1")
        servers.append(server)
        (listen[key],) = free_ports(1)
        target = Endpoint(port=server.sockets[0].getsockname()[1])
        channels.append(
            RelayChannel(source=source, destination=destination, listen=listen[key], target=target, purpose=purpose)
        )
    spec = RelaySpec(rate_mbps=rate_mbps, rtt_ms=rtt_ms, control=free_ports(1)[0], channels=tuple(channels))
    async with Relay(spec) as relay:
        link = Link(relay, listen, heard)
        try:
            yield link
        finally:
            for end in (*servers, *link.open, *accepted):
                end.close()
    await asyncio.sleep(0)


def over_link(test):
    """Run an async test in virtual time."""

    def run(*args, **kwargs):
        virtual_time.run(test(*args, **kwargs))

    run.__name__ = test.__name__
    return run


@over_link
async def test_all_bytes_arrive_in_order_and_come_back():
    async with running_link() as link:
        assert await link.exchange(PAYLOAD) == PAYLOAD
        assert link.heard[*THERE, "training"] == PAYLOAD


@over_link
async def test_bytes_are_counted_by_direction_and_purpose_whoever_opened_the_connection():
    async def answer_once(reader, writer, heard):
        heard.extend(await reader.read(1 << 20))
        writer.write(b"x" * 10)
        writer.close()

    async with running_link(answer_once) as link:
        await link.exchange(b"q" * 1000)
        await link.exchange(b"q" * 300, purpose="serving")
        await link.exchange(b"q" * 50, BACK)
        assert link.delivered(THERE) == {"training": 1010, "serving": 300}
        assert link.delivered(BACK) == {"training": 60, "serving": 10}


@over_link
async def test_connections_at_once_do_not_mix():
    payloads = [random.Random(n).randbytes(200_000 + n) for n in range(6)]
    async with running_link() as link:
        ways = [THERE, BACK] * 3
        answers = await asyncio.gather(*(link.exchange(p, way) for p, way in zip(payloads, ways, strict=True)))
        assert answers == payloads


@over_link
async def test_streams_share_the_rate_of_their_direction():
    async with running_link(rate_mbps=8, rtt_ms=0) as link:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(link.exchange(bytes(500_000)), link.exchange(bytes(500_000), purpose="serving"))
        # a megabyte at a megabyte a second; that it takes longer than alone is the point, not by how little
        assert asyncio.get_running_loop().time() - began >= 1.0


@over_link
async def test_no_byte_passes_in_an_outage_and_none_is_lost():
    async with running_link() as link:
        reader, writer = await link.connect()
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        link.relay.switch(Outage(on=True))
        writer.write(PAYLOAD)
        await asyncio.sleep(3600)
        assert link.heard[*THERE, "training"] == b"before"
        assert not writer.is_closing()
        link.relay.switch(Outage(on=False))
        assert await reader.readexactly(len(PAYLOAD)) == PAYLOAD


@over_link
async def test_a_new_connection_waits_for_the_end_of_an_outage():
    async with running_link() as link:
        link.relay.switch(Outage(on=True))
        waiting = asyncio.create_task(link.exchange(b"hello"))
        await asyncio.sleep(3600)
        assert not waiting.done()
        link.relay.switch(Outage(on=False))
        assert await waiting == b"hello"


@over_link
async def test_an_outage_with_a_length_ends_by_itself():
    async with running_link() as link:
        assert link.relay.switch(Outage(on=True, seconds=60)).outage
        assert await link.exchange(b"hello") == b"hello"
        assert asyncio.get_running_loop().time() >= 60
        assert not link.relay.status().outage


@over_link
async def test_the_last_word_on_an_outage_holds():
    async with running_link() as link:
        link.relay.switch(Outage(on=True, seconds=60))
        link.relay.switch(Outage(on=True))
        await asyncio.sleep(3600)
        assert link.relay.status().outage


@over_link
async def test_old_connections_that_wait_in_an_outage_make_room_for_new_ones():
    async with running_link() as link:
        link.relay.switch(Outage(on=True))
        connections = [await link.connect() for _ in range(130)]
        with pytest.raises(ConnectionResetError):
            await connections[0][0].read()
        await link.settle(lambda: link.relay.status().connections == 128)


@over_link
async def test_a_reader_that_stops_stops_the_sender():
    go_on = asyncio.Event()

    async def late(reader, writer, heard):
        await go_on.wait()
        await echo(reader, writer, heard)

    async with running_link(late, rate_mbps=1000, rtt_ms=1) as link:
        reader, writer = await link.connect()
        flood = bytes(64 << 20)
        writer.write(flood)
        await asyncio.sleep(3600)
        stuck = writer.transport.get_write_buffer_size()
        assert stuck > 32 << 20  # the rest is in sockets' buffers and in one window
        await asyncio.sleep(3600)
        assert writer.transport.get_write_buffer_size() == stuck
        go_on.set()
        assert len(await reader.readexactly(len(flood))) == len(flood)


@over_link
async def test_a_target_that_refuses_refuses_the_caller():
    async with running_link() as link:
        (nobody,) = free_ports(1)
        port = await link.relay._listen(THERE, Endpoint(port=nobody), "training")
        reader, _ = await link.connect_to(port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await link.settle(lambda: link.relay.status().connections == 0)


@over_link
async def test_a_reset_reaches_the_other_end():
    async def reset(reader, writer, heard):
        heard.extend(await reader.read(100))
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with running_link(reset) as link:
        reader, writer = await link.connect()
        writer.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await link.settle(lambda: link.relay.status().connections == 0)


@over_link
async def test_a_server_may_speak_first():
    async def greet(_reader, writer, _heard):
        writer.write(b"welcome")
        writer.close()

    async with running_link(greet) as link:
        reader, _ = await link.connect()
        assert await reader.read() == b"welcome"


@over_link
async def test_the_handshake_costs_a_round_trip():
    async with running_link(rtt_ms=1000) as link:
        began = asyncio.get_running_loop().time()
        assert await link.exchange(b"x") == b"x"
        assert asyncio.get_running_loop().time() - began >= 2.0


@over_link
async def test_closed_connections_are_forgotten():
    async with running_link() as link:
        await asyncio.gather(*(link.exchange(b"x") for _ in range(20)))
        await link.settle(lambda: link.relay.status().connections == 0)


def test_a_port_in_use_is_named_and_nothing_is_left_listening():
    free, taken = free_ports(2)
    with socket.create_server(("127.0.0.1", taken)):
        channels = tuple(
            RelayChannel(source=A, destination=B, listen=port, target=Endpoint(port=9999), purpose=purpose)
            for port, purpose in [(free, "serving"), (taken, "training")]
        )
        spec = RelaySpec(rate_mbps=1, rtt_ms=0, control=9998, channels=channels)

        async def enter():
            async with Relay(spec):
                raise AssertionError("entered")

        with pytest.raises(UserError, match=rf"port {taken} of the link \(training, aws-1 to os-1\) .* in use"):
            asyncio.run(enter())
    socket.create_server(("127.0.0.1", free)).close()
