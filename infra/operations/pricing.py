"""A month's bill, line by line: what a thing costs at least and at most, where usage or a market decides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.operations.prices import HOURS_A_MONTH, Prices, Service

ELSEWHERE: Final = 1.2
"""How much dearer at most a service is outside the reference region, for the regions that the table knows."""
TRAFFIC_TB: Final = 1
"""What the estimate allows for at most on each way out, in a month; more is dearer by the line's own rate."""


@dataclass(frozen=True)
class Line:
    """A position of the bill, USD a month."""

    component: str
    item: str
    count: float
    low: float
    high: float
    note: str = ""

    def times(self, sign: int) -> "Line":
        """The line bought (1) or given up (-1)."""
        ends = sorted((self.low * sign, self.high * sign))
        return Line(self.component, self.item, self.count * sign, ends[0], ends[1], self.note)


@dataclass(frozen=True)
class Estimate:
    """A month at the sizes that the stack wants. `unpriced` are things whose price nobody has looked up."""

    lines: tuple[Line, ...]
    unpriced: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        return sum(line.low for line in self.lines)

    @property
    def high(self) -> float:
        return sum(line.high for line in self.lines)


@dataclass
class Bill:
    """Collects lines for one region."""

    prices: Prices
    region: str
    lines: list[Line] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)

    def machines(self, component: str, kind: str, count: float, capacity: str = "on-demand") -> None:
        """EC2 instances, running all month."""
        found = self.prices.instance(kind, self.region)
        if found is None:
            if kind not in self.unpriced:
                self.unpriced.append(kind)
            return
        if not count:
            return
        hour, confirmed = found
        whole = hour * HOURS_A_MONTH * count
        low, high, notes = whole, whole, [] if confirmed else ["price not confirmed for this region"]
        if capacity == "spot":
            low, high = (whole * share for share in self.prices.spot_share)
            notes.append("spot: the market decides, at most the price on demand")
        elif capacity == "capacity-block":
            low = 0.0
            notes.append("capacity block: paid in advance at the price of its day; on demand as the upper end")
        elif capacity == "reservation":
            notes.append("reservation: paid whether used or not")
        self.lines.append(Line(component, f"{kind} {capacity}", count, low, high, "; ".join(notes)))

    def service(self, component: str, item: str, name: Service, amount: float, *, least: float | None = None) -> None:
        """`amount` units (hours are of a whole month each); `least` where usage decides between the two."""
        if not amount:
            return
        usd, confirmed = self.prices.service(name)
        unit = usd * (HOURS_A_MONTH if name.endswith("_hour") else 1)
        dearer = 1.0 if self.region == self.prices.reference_region else ELSEWHERE
        notes = [] if confirmed else ["price not confirmed"]
        if least is not None:
            notes.append(f"by use, {usd:g} USD a GB")
        low = unit * (amount if least is None else least)
        self.lines.append(Line(component, item, amount, low, unit * amount * dearer, "; ".join(notes)))

    def traffic(self, component: str, item: str, name: Service) -> None:
        """Up to `TRAFFIC_TB` in a month."""
        self.service(component, f"{item}, up to {TRAFFIC_TB} TB", name, TRAFFIC_TB * 1000, least=0)

    def operators(self, component: str, item: str, count: float, usd_per_hour: float | None) -> None:
        """Servers of an OpenStack operator."""
        note = "" if usd_per_hour is not None else "the operator's own"
        month = (usd_per_hour or 0.0) * HOURS_A_MONTH * count
        self.lines.append(Line(component, item, count, month, month, note))

    def done(self) -> Estimate:
        return Estimate(tuple(self.lines), tuple(self.unpriced))


def difference(before: Estimate, after: Estimate) -> Estimate:
    """What changes from one estimate to the other, line by line; lines that are the same are left out."""
    mine, theirs = _by_item(before.lines), _by_item(after.lines)
    changed = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    lines = []
    for key in changed:
        old, new = mine.get(key), theirs.get(key)
        if old is None or new is None:
            lines.append(new.times(1) if new else old.times(-1) if old else Line(*key, 0, 0, 0))
            continue
        ends = sorted((new.low - old.low, new.high - old.high))
        lines.append(Line(*key, new.count - old.count, ends[0], ends[1], new.note))
    return Estimate(tuple(lines), tuple(kind for kind in after.unpriced if kind not in before.unpriced))


def _by_item(lines: Iterable[Line]) -> Mapping[tuple[str, str], Line]:
    summed: dict[tuple[str, str], Line] = {}
    for line in lines:
        key = (line.component, line.item)
        have = summed.get(key, Line(*key, 0, 0, 0, line.note))
        summed[key] = Line(*key, have.count + line.count, have.low + line.low, have.high + line.high, line.note)
    return summed
