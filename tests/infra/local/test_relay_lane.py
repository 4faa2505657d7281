"""A lane's arithmetic, in virtual time and therefore exact."""

import asyncio

import pytest

from infra.local.relay.lane import Lane
from tests.kit import virtual_time

MBPS = 8.0  # a megabyte a second
DELAY_S = 0.25


class Watched:
    """A lane with a log of what arrived when."""

    def __init__(self, delay_s=DELAY_S):
        self.lane = Lane(MBPS, delay_s)
        self.arrivals = []

    def send(self, name, size):
        self.lane.send(size, lambda: self.arrivals.append((name, asyncio.get_running_loop().time())))


def arrivals_after(drive, seconds=1000.0):
    async def main():
        watched = Watched()
        result = drive(watched)
        if asyncio.iscoroutine(result):
            await result
        await asyncio.sleep(seconds)
        return watched.arrivals

    return virtual_time.run(main())


def times(arrivals):
    return [time for _, time in arrivals]


def test_a_packet_arrives_when_its_last_byte_has_left_and_travelled():
    assert times(arrivals_after(lambda link: link.send("a", 500_000))) == [pytest.approx(0.5 + DELAY_S, abs=2e-3)]


def test_delay_does_not_limit_throughput():
    def send(link):
        for name in range(10):
            link.send(name, 100_000)

    arrivals = arrivals_after(send)
    assert [name for name, _ in arrivals] == list(range(10))
    assert times(arrivals) == pytest.approx([0.1 * (n + 1) + DELAY_S for n in range(10)], abs=2e-3)


def test_an_idle_line_saves_nothing_up():
    async def send(link):
        await asyncio.sleep(100)
        link.send("a", 1_000_000)
        link.send("b", 1_000_000)

    assert times(arrivals_after(send)) == pytest.approx([101 + DELAY_S, 102 + DELAY_S], abs=2e-3)


def test_nothing_arrives_in_an_outage_and_all_of_it_afterwards():
    async def send(link):
        link.send("before", 1_000_000)
        await asyncio.sleep(0.5)
        link.lane.stop()
        link.send("during", 1_000_000)
        await asyncio.sleep(3600)
        assert link.arrivals == []
        link.lane.go()

    arrivals = arrivals_after(send)
    assert [name for name, _ in arrivals] == ["before", "during"]
    assert times(arrivals) == pytest.approx([3601 + DELAY_S, 3602 + DELAY_S], abs=2e-3)


def test_stopping_twice_is_stopping_once():
    async def send(link):
        for _ in range(2):
            link.lane.stop()
            await asyncio.sleep(10)
        for _ in range(2):
            link.lane.go()
            link.send("a", 0)
            await asyncio.sleep(5)

    assert times(arrivals_after(send)) == pytest.approx([20 + DELAY_S, 25 + DELAY_S], abs=2e-3)


def test_a_closed_lane_delivers_no_more():
    def send(link):
        link.send("a", 1000)
        link.lane.close()

    assert arrivals_after(send) == []


@pytest.mark.parametrize("rate_mbps", [0.1, 100, 100_000])
@pytest.mark.parametrize("delay_s", [0, 0.015, 1])
def test_a_window_fills_the_line_and_is_bounded(rate_mbps, delay_s):
    async def window():
        return Lane(rate_mbps, delay_s).window_bytes

    full = rate_mbps * 1e6 / 8 * delay_s
    assert min(full, 64 << 20) <= virtual_time.run(window()) <= 64 << 20
