"""The relay itself: lanes, listening channels, probes and the outage switch, all in one event loop."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from infra.local.relay.crossing import Crossing, End
from infra.local.relay.lane import Lane
from infra.local.relay.probe import PURPOSE as PROBE
from infra.local.relay.probe import sink
from infra.local.relay.status import LaneStatus, LinkStatus, Outage
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.launch import RelaySpec

LOOPBACK = "127.0.0.1"
_BACKLOG = 128  # connections that wait for an outage to end; older ones are reset, as a full SYN queue does

Direction = tuple[str, str]


class Relay:
    """`async with Relay(spec)` is the running link. Raises `UserError` on entry if one of its ports is in use."""

    def __init__(self, spec: RelaySpec) -> None:
        self._spec = spec
        self._lanes: dict[Direction, Lane] = {}
        self._probes: dict[Direction, int] = {}
        self._servers: list[asyncio.Server] = []
        self._crossings: dict[Crossing, None] = {}
        self._outage = False
        self._outage_end: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        await asyncio.sleep(0)  # transports let go of their sockets in the loop's next turn

    def status(self) -> LinkStatus:
        """Figures of this moment."""
        return LinkStatus(
            rate_mbps=self._spec.rate_mbps,
            rtt_ms=self._spec.rtt_ms,
            outage=self._outage,
            connections=len(self._crossings),
            lanes=tuple(
                LaneStatus(
                    source=source,
                    destination=destination,
                    delivered=dict(lane.delivered),
                    probe=self._probes[source, destination],
                )
                for (source, destination), lane in self._lanes.items()
            ),
        )

    def switch(self, outage: Outage) -> LinkStatus:
        """Begin or end an outage."""
        if self._outage_end is not None:
            self._outage_end.cancel()
            self._outage_end = None
        self._outage = outage.on
        for lane in self._lanes.values():
            if outage.on:
                lane.stop()
            else:
                lane.go()
        if outage.on and outage.seconds is not None:
            self._outage_end = asyncio.get_running_loop().call_later(outage.seconds, self.switch, Outage(on=False))
        return self.status()

    async def _open(self) -> None:
        for channel in self._spec.channels:
            direction = channel.source, channel.destination
            self._lane(*direction).delivered[channel.purpose] = 0
            self._lane(*reversed(direction)).delivered[channel.purpose] = 0
        for channel in self._spec.channels:
            direction = channel.source, channel.destination
            await self._listen(direction, channel.target, channel.purpose, channel.listen)
        end = await asyncio.start_server(sink, LOOPBACK)
        self._servers.append(end)
        for direction in self._lanes:
            self._probes[direction] = await self._listen(direction, Endpoint(port=_port(end)), PROBE)

    def _lane(self, source: str, destination: str) -> Lane:
        direction = source, destination
        if direction not in self._lanes:
            self._lanes[direction] = Lane(self._spec.rate_mbps, self._spec.rtt_ms / 2e3)
        return self._lanes[direction]

    async def _listen(self, direction: Direction, target: Endpoint, purpose: str, port: int = 0) -> int:
        """Port of a new listener; port 0 asks for any."""
        source, destination = direction
        there, back = self._lane(source, destination), self._lane(destination, source)
        waiting: deque[Crossing] = deque(maxlen=_BACKLOG)

        def accept() -> End:
            crossing = Crossing(there, back, target, purpose, self._note)
            if len(waiting) == _BACKLOG and not waiting[0].established:
                waiting[0].abort()
            waiting.append(crossing)
            return crossing.near

        try:
            server = await asyncio.get_running_loop().create_server(accept, LOOPBACK, port)
        except OSError as error:
            raise UserError(
                f"port {port} of the link ({purpose}, {source} to {destination}) cannot be opened: "
                f"{error.strerror or error}; stop the program that has it, or set isthmus:local.base_port"
            ) from None
        self._servers.append(server)
        return _port(server)

    def _note(self, crossing: Crossing) -> None:
        if crossing.over:
            self._crossings.pop(crossing, None)
        else:
            self._crossings[crossing] = None

    def _close(self) -> None:
        if self._outage_end is not None:
            self._outage_end.cancel()
        for server in self._servers:
            server.close()
        for crossing in list(self._crossings):
            crossing.abort()
        for lane in self._lanes.values():
            lane.close()


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
