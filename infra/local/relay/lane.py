"""One direction of a link as a line of packets: each waits for the rate, then travels for the delay, in order."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

_PACKET_S = 0.002  # serialisation time of a packet: finer costs CPU, coarser makes small messages late
_PACKET_LIMITS = (1_500, 65_536)
_QUEUE_S = 0.02  # a stream keeps this much waiting for the rate, so that the line never runs dry between two wake-ups
_QUEUE_MIN = 16_384
_WINDOW_MAX = 64 << 20


class Lane:
    """A shared line. The bytes of all streams leave one after another at `rate_mbps` and arrive `delay_s` later.

    Times are of the lane's own clock, which stands still during an outage: what is on the way stays there.
    """

    def __init__(self, rate_mbps: float, delay_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._bytes_per_s = rate_mbps * 1e6 / 8
        self._delay_s = delay_s
        self._on_the_way: deque[tuple[float, Callable[[], None]]] = deque()
        self._free_at = 0.0  # when the last packet so far has left
        self._stopped_at: float | None = None
        self._stood_still_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.delivered: Counter[str] = Counter()
        low, high = _PACKET_LIMITS
        self.packet_bytes = min(max(round(self._bytes_per_s * _PACKET_S), low), high)

    @property
    def window_bytes(self) -> int:
        """Bytes that one stream may have on the way: what fills the line, as TCP's window does, and a short queue."""
        queue = max(self._bytes_per_s * _QUEUE_S, _QUEUE_MIN)
        return min(round(self._bytes_per_s * self._delay_s + queue), _WINDOW_MAX)

    def send(self, size: int, arrive: Callable[[], None]) -> None:
        """Put `size` bytes on the line; `arrive` is called when the last of them comes out."""
        self._free_at = max(self._now(), self._free_at) + size / self._bytes_per_s
        self._on_the_way.append((self._free_at + self._delay_s, arrive))
        self._arm()

    def stop(self) -> None:
        """Begin an outage."""
        if self._stopped_at is None:
            self._stopped_at = self._loop.time()
            self._disarm()

    def go(self) -> None:
        """End the outage."""
        if self._stopped_at is not None:
            self._stood_still_s += self._loop.time() - self._stopped_at
            self._stopped_at = None
            self._arm()

    def close(self) -> None:
        """Drop what is on the way."""
        self._disarm()
        self._on_the_way.clear()

    def _now(self) -> float:
        return (self._loop.time() if self._stopped_at is None else self._stopped_at) - self._stood_still_s

    def _arm(self) -> None:
        # delay is the same for all, so the first in is the first out and one timer will do
        if self._timer is None and self._stopped_at is None and self._on_the_way:
            self._timer = self._loop.call_at(self._on_the_way[0][0] + self._stood_still_s, self._deliver)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deliver(self) -> None:
        self._timer = None
        now = max(self._now(), self._on_the_way[0][0])  # a timer may be early by the clock's resolution
        while self._on_the_way and self._on_the_way[0][0] <= now:
            self._on_the_way.popleft()[1]()
        self._arm()
