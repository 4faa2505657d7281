"""A TCP connection that crosses the link: its two ends, and how data, its end and its loss travel between them."""

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial

from infra.local.relay.lane import Lane
from workloads.spec.base import Endpoint

_NO_LINGER = struct.pack("ii", 1, 0)


class End(asyncio.Protocol):
    """What this end reads goes over `lane` and is written by the end `far`.

    Reading stops while a window's worth is on the way or the far end cannot write: backpressure reaches the sender.
    """

    far: "End"

    def __init__(self, lane: Lane, purpose: str, changed: Callable[[], None]) -> None:
        self._lane = lane
        self._purpose = purpose
        self._changed = changed  # called when this end was connected and when it was lost
        self._transport: asyncio.Transport | None = None
        self._bytes_on_the_way = 0
        self._far_is_full = False
        self._established = False
        self._read_all = False
        self._wrote_all = False
        self.gone = False  # closed, or to be closed as soon as it is connected

    @property
    def connected(self) -> bool:
        """Whether there is, or was, a connection at this end."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `establish` before reading."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP has no other kind
        self._transport = transport
        transport.pause_reading()
        if self.gone:
            _reset(transport)
        self._changed()

    def establish(self) -> None:
        """The handshake is over: read."""
        self._established = True
        self._throttle()

    def data_received(self, data: bytes) -> None:
        """Send in packets, so that several streams share the line fairly."""
        for start in range(0, len(data), self._lane.packet_bytes):
            packet = data[start : start + self._lane.packet_bytes]
            self._bytes_on_the_way += len(packet)
            self._lane.send(len(packet), partial(self._deliver, packet))
        self._throttle()

    def eof_received(self) -> bool:
        """The half-close crosses like data. True keeps this end open for the answer."""
        self._read_all = True
        self._lane.send(0, self.far.finish)
        return not self._wrote_all

    def connection_lost(self, exc: Exception | None) -> None:
        """The far end hears of it after the delay."""
        self.gone = True
        self._lane.send(0, self.far.abort if exc else self.far.close)
        self._changed()

    def pause_writing(self) -> None:
        """This end's reader is slow: the far end must read no more."""
        self.far.hear_of_room(room=False)

    def resume_writing(self) -> None:
        """There is room again."""
        self.far.hear_of_room(room=True)

    def hear_of_room(self, *, room: bool) -> None:
        """Whether the far end can take more."""
        self._far_is_full = not room
        self._throttle()

    def write(self, packet: bytes) -> bool:
        """Hand over what came out of the line. False: nobody is there to take it."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(packet)
        return True

    def finish(self) -> None:
        """The far end will send no more."""
        self._wrote_all = True
        if self._transport is None or self._transport.is_closing():
            return
        if self._read_all:
            self._transport.close()
        else:
            self._transport.write_eof()

    def close(self) -> None:
        """Close once everything is written."""
        self.gone = True
        if self._transport is None:
            self._changed()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Reset."""
        self.gone = True
        if self._transport is None:
            self._changed()
        else:
            _reset(self._transport)

    def _deliver(self, packet: bytes) -> None:
        self._bytes_on_the_way -= len(packet)
        if self.far.write(packet):
            self._lane.delivered[self._purpose] += len(packet)
        self._throttle()

    def _throttle(self) -> None:
        if self._transport is None or self._read_all:
            return  # a reader that is resumed after the end would read the end again
        if self._established and not self._far_is_full and self._bytes_on_the_way < self._lane.window_bytes:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


class Crossing:
    """One connection: a near end that was accepted, and a far end that is dialled when the handshake has crossed."""

    def __init__(
        self, there: Lane, back: Lane, target: Endpoint, purpose: str, changed: Callable[["Crossing"], None]
    ) -> None:
        self._there, self._back, self._target = there, back, target
        self.near = End(there, purpose, self._near_changed)
        self._far = End(back, purpose, lambda: changed(self))
        self.near.far, self._far.far = self._far, self.near
        self._changed = changed
        self._dialling: asyncio.Task[None] | None = None

    @property
    def established(self) -> bool:
        """Whether the target has answered."""
        return self._far.connected

    @property
    def over(self) -> bool:
        """Whether neither end is left."""
        return self.near.gone and self._far.gone

    def abort(self) -> None:
        """Reset both ends now, without the delay."""
        if self._dialling is not None:
            self._dialling.cancel()
        self.near.abort()
        self._far.abort()

    def _near_changed(self) -> None:
        if self._dialling is None and not self.near.gone:
            self._there.send(0, self._dial)
        self._changed(self)

    def _dial(self) -> None:
        if not self._far.gone:
            self._dialling = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._far, self._target.host, self._target.port)
        except OSError:
            self._far.gone = True
            self._back.send(0, self.near.abort)
        else:
            self._far.establish()
            self._back.send(0, self.near.establish)


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset: a socket that is merely closed would tell of an orderly end."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
