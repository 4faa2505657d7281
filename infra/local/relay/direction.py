"""One direction of the link: what every connection that crosses it shares."""

import asyncio
from collections import Counter

# Sleeps shorter than this cost more than they shape; what is owed is carried over to the next chunk.
_SLACK_S = 0.002
# The line is not idle while a timer is late: that much of the past can still be sent in.
_CREDIT_S = 0.01


class Direction:
    """A rate shared by all connections of one direction, a delay for each byte, and a switch.

    The rate is kept by a virtual clock (a token bucket whose burst is 10 ms of the rate): a chunk leaves when the line is free, and
    arrives `delay_s` later. In an outage nothing leaves and nothing arrives, and nothing is lost, since every sender
    keeps what was not acknowledged.
    """

    def __init__(self, rate_mbps: float, delay_s: float) -> None:
        self._bytes_per_s = rate_mbps * 1e6 / 8
        self._delay_s = delay_s
        self._free_at = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self.delivered: Counter[str] = Counter()  # bytes by purpose

    def cut(self, *, on: bool) -> None:
        """Begin or end an outage."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    async def up(self) -> None:
        """Wait for the end of an outage."""
        await self._open.wait()

    async def send(self, size: int) -> float:
        """Wait until `size` bytes have left; gives the loop time at which they arrive."""
        await self.up()
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - _CREDIT_S) + size / self._bytes_per_s
        free_at = self._free_at
        if free_at - now > _SLACK_S:
            await asyncio.sleep(free_at - now)
        return free_at + self._delay_s

    async def arrive(self, at: float, size: int, purpose: str) -> None:
        """Wait until what was sent is there."""
        wait = at - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)
        await self.up()
        self.delivered[purpose] += size
