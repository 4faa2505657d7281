"""What the product must reach, as ratios of figures of one run. A bar that lacks its rows is left out. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench.wan.menu import (
    DDP,
    FAST,
    NO_LINK,
    SLOW,
    SYNC_ADAMW,
    SYNC_MUON,
    THIS,
    THIS_MUON,
    TORCHFT_ADAMW,
)
from tests.bench.wan.results import LossRow, Row, SpeedRow, compare, newest
from workloads.spec.base import Frozen

TOGETHER_S = 3600.0  # rows of one run, or measured within so much time, saw the same machine
_MB = 1e6
_TORCHFT = "torchft"


class Bar(Frozen):
    """A ratio, and what it must be at least or at most. `note` says what makes it less than firm."""

    value: float
    bar: float
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class _Found:
    """A bar's figures before they are judged, with the rows that they are from."""

    name: str
    value: float
    bar: float
    is_floor: bool
    rows: Sequence[Row]
    miss: str = ""  # why it is missed whatever the value says


def judge(speed: Sequence[SpeedRow], loss: Sequence[LossRow]) -> dict[str, Bar]:
    """All bars by name, from the newest row of each method on each link."""
    rows = {(row.link, row.method): row for row in newest(speed)}
    own = rows.get((str(FAST), THIS))
    losses = {row.method: row for row in newest(loss)}
    found = (*_speed_bars(rows), *_time_bars(rows), *_loss_bars(losses))
    return {each.name: _judged(each, own) for each in found}


def _judged(found: _Found, own: SpeedRow | None) -> Bar:
    ok = found.value >= found.bar if found.is_floor else found.value <= found.bar
    notes = [found.miss] if found.miss else []
    notes += _reservations(found.rows, own)
    return Bar(value=found.value, bar=found.bar, ok=ok and not found.miss, note="; ".join(notes))


def _reservations(rows: Sequence[Row], own: SpeedRow | None) -> Iterator[str]:
    """What is to be said of a bar from `rows`."""
    begun = min(row.circumstances.begun for row in rows)
    apart_s = (max(row.circumstances.ended for row in rows) - begun).total_seconds()
    if len({row.circumstances.run for row in rows}) > 1 and apart_s > TOGETHER_S:
        yield f"rows {apart_s / 3600:.1f} h apart"
    for row in rows:
        if row.method == THIS_MUON and own is not None and row.setting != own.setting:
            yield f"speed is measured with {own.setting}, loss with {row.setting}"


Rows = dict[tuple[str, str], SpeedRow]


def _speed_bars(rows: Rows) -> Iterator[_Found]:
    fast, slow = str(FAST), str(SLOW)
    for link, name, bar in ((fast, "100", 0.95), (slow, "20", 0.90)):
        yield from _ratio(
            f"speed_at_{name}_mbps_of_no_link", bar, rows.get((link, THIS)), rows.get((link, NO_LINK.name)), _speed
        )
    own, ddp, plain = rows.get((fast, THIS)), rows.get((fast, DDP.name)), rows.get((fast, NO_LINK.name))
    yield from _ratio("bytes_of_ddp", 400, ddp, own, lambda row: row.mb_per_step)
    pairs = [
        (ours, peer)
        for (link, method), peer in rows.items()
        if method.startswith(_TORCHFT) and (ours := rows.get((link, THIS)))
    ]
    if pairs:
        ours, peer = min(pairs, key=lambda pair: pair[0].steps_per_s / pair[1].steps_per_s)
        every = [row for pair in pairs for row in pair]
        yield _Found("speed_of_torchft_least_of_links", ours.steps_per_s / peer.steps_per_s, 1.0, True, every)
    if own and plain:
        extra_mb = own.extra_mb - plain.extra_mb
        yield _Found("extra_memory_in_parameters", extra_mb * _MB / (4 * own.parameters), 3.0, False, (own, plain))


def _time_bars(rows: Rows) -> Iterator[_Found]:
    beside = {comparison.method: comparison for comparison in compare([*rows.values()]) if comparison.link == str(FAST)}
    seconds = {method: comparison.time_to_loss_s for method, comparison in beside.items()}
    own, ddp = rows.get((str(FAST), THIS)), rows.get((str(FAST), DDP.name))
    if not own or not own.looks or not ddp or not (ddp_s := seconds[DDP.name]):
        return
    # one that never got there takes longer than it ran
    own_s, miss = seconds[THIS] or own.looks[-1].at_s, "" if seconds[THIS] else "never got there: longer than the value"
    yield _Found("time_to_loss_of_ddp", own_s / ddp_s, 0.2, False, (own, ddp), miss)
    peers = [row for (link, name), row in rows.items() if link == str(FAST) and name.startswith(_TORCHFT) and row.looks]
    if peers:
        fastest = min(seconds[peer.method] or peer.looks[-1].at_s for peer in peers)
        yield _Found("time_to_loss_of_torchft", own_s / fastest, 1.0, False, (own, ddp, *peers), miss)


def _loss_bars(losses: dict[str, LossRow]) -> Iterator[_Found]:
    own, muon, adamw = (losses.get(name) for name in (THIS_MUON, SYNC_MUON, SYNC_ADAMW))
    if own and muon:
        yield _Found("loss_of_synchronous_muon", own.loss / muon.loss, 1.02, False, (own, muon))
    if own and adamw:
        yield _Found("loss_of_synchronous_adamw", own.loss / adamw.loss, 1.0, False, (own, adamw))
    if own and muon and adamw and (torchft := losses.get(TORCHFT_ADAMW)):
        lag = torchft.loss / adamw.loss - 1
        if lag > 0:  # else it has no distance that ours could be a part of
            share = (own.loss / muon.loss - 1) / lag
            yield _Found("distance_of_torchft", share, 1 / 3, False, (own, muon, adamw, torchft))


def _speed(row: SpeedRow) -> float:
    return row.steps_per_s


def _ratio(
    name: str, bar: float, above: SpeedRow | None, below: SpeedRow | None, figure: Callable[[SpeedRow], float | None]
) -> Iterator[_Found]:
    """A floor for the ratio of a figure of two rows, if both are there and have it."""
    if above and below and (one := figure(above)) and (other := figure(below)):
        yield _Found(name, one / other, bar, True, (above, below))
