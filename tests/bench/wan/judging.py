"""What the product must reach, as ratios of figures of one run. A bar that lacks its rows is left out."""

from collections.abc import Callable, Iterator, Sequence

from tests.bench.wan.menu import (
    DDP,
    NO_LINK,
    SYNC_ADAMW,
    SYNC_MUON,
    THIS_LONG,
    THIS_MUON,
    THIS_SHORT,
    TORCHFT,
    TORCHFT_ADAMW,
    TORCHFT_BUCKET,
)
from tests.bench.wan.results import LossRow, SpeedRow, compare
from workloads.spec.base import Frozen

_FAST, _SLOW = "100 Mbit/s 30 ms", "20 Mbit/s 30 ms"
_MB = 1e6


class Bar(Frozen):
    """A ratio, and what it must be at least or at most."""

    value: float
    bar: float
    ok: bool


Rows = dict[tuple[str, str], SpeedRow]


def judge(speed: Sequence[SpeedRow], loss: Sequence[LossRow]) -> dict[str, Bar]:
    """All bars by name."""
    rows = {(row.link, row.method): row for row in speed}
    found: dict[str, Bar] = {}
    for name, value, bar, is_floor in (*_speed_bars(rows), *_time_bars(rows), *_loss_bars(loss)):
        found[name] = Bar(value=value, bar=bar, ok=value >= bar if is_floor else value <= bar)
    return found


Found = Iterator[tuple[str, float, float, bool]]  # name, value, bar, and whether it is a floor


def _speed_bars(rows: Rows) -> Found:
    for method, suffix in ((THIS_LONG, "h52_int4"), (THIS_SHORT, "h20_int8")):
        for link, name, bar in ((_FAST, "100", 0.95), (_SLOW, "20", 0.90)):
            if ratio := _ratio(rows, link, method.name, NO_LINK.name, lambda row: row.steps_per_s):
                yield f"speed_at_{name}_mbps_of_no_link_{suffix}", ratio, bar, True
    if ratio := _ratio(rows, _FAST, DDP.name, THIS_LONG.name, lambda row: row.mb_per_step):
        yield "bytes_of_ddp_h52_int4", ratio, 400, True
    links = dict.fromkeys(link for link, _ in rows)
    ahead = [
        _ratio(rows, link, THIS_SHORT.name, peer.name, lambda row: row.steps_per_s)
        for link in links
        for peer in (TORCHFT, TORCHFT_BUCKET)
    ]
    if known := [ratio for ratio in ahead if ratio]:
        yield "speed_of_torchft_least_of_links_h20", min(known), 1.0, True
    for method, suffix in ((THIS_LONG, "h52_int4"), (THIS_SHORT, "h20_int8")):
        own, plain = rows.get((_FAST, method.name)), rows.get((_FAST, NO_LINK.name))
        if own and plain:
            extra_mb = own.extra_mb - plain.extra_mb
            yield f"extra_memory_in_parameters_{suffix}", extra_mb * _MB / (4 * own.parameters), 3.0, False


def _time_bars(rows: Rows) -> Found:
    seconds = {row.method: row.time_to_loss_s for row in compare([*rows.values()]) if row.link == _FAST}
    own, ddp = seconds.get(THIS_SHORT.name), seconds.get(DDP.name)
    if own and ddp:
        yield "time_to_loss_of_ddp_h20_int8", own / ddp, 0.2, False
    peers = [row for peer in (TORCHFT, TORCHFT_BUCKET) if (row := rows.get((_FAST, peer.name))) and row.looks]
    if own and peers:
        # one that never got there took longer than it ran
        fastest = min(seconds[peer.method] or peer.looks[-1].at_s for peer in peers)
        yield "time_to_loss_of_torchft_h20", own / fastest, 1.0, False


def _loss_bars(loss: Sequence[LossRow]) -> Found:
    by_method = {row.method: row.loss for row in loss}
    own, muon, adamw = (by_method.get(name) for name in (THIS_MUON, SYNC_MUON, SYNC_ADAMW))
    if not own or not muon:
        return
    yield "loss_of_synchronous_muon", own / muon, 1.02, False
    if not adamw:
        return
    yield "loss_of_synchronous_adamw", own / adamw, 1.0, False
    if torchft := by_method.get(TORCHFT_ADAMW):
        yield "distance_of_torchft", (own / muon - 1) / (torchft / adamw - 1), 1 / 3, False


def _ratio(rows: Rows, link: str, above: str, below: str, figure: Callable[[SpeedRow], float | None]) -> float | None:
    one, other = rows.get((link, above)), rows.get((link, below))
    values = (figure(one), figure(other)) if one and other else (None, None)
    return values[0] / values[1] if values[0] and values[1] else None
