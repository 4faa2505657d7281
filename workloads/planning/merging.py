"""How often sites merge, in how many bits and pieces, and how much of it is hidden behind training: H, bits, tau, fragments."""

import math
from dataclasses import dataclass

from workloads.planning.link import BLOCK, payload_bytes, transfer_s
from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Bits
from workloads.spec.recipe import Recipe

# A merge's passes over fp32 values in main memory: the site's own delta and residual, and what comes from each peer. An
# accelerator trains on meanwhile, and waits for its parameters to be copied out and in.
_OWN_PASSES, _PEER_PASSES, _COPY_PASSES = 14, 4, 4
_BUSY = 0.5  # share of the time that the link may be busy: twice as slow, and it still keeps up
_MERGE_SHARE = 0.02  # of a round, at most
_OFTEN = 20  # steps: to merge more often than this gains little (DiLoCo, arXiv 2311.08105, section 3.2)
_SELDOM = 50  # steps: fewer bits are better than merging less often than this
_FEWEST_ROUNDS = 4
_WINDOW = 0.25  # share of a round that a fragment may be on its way: what arrives later is merged staler
_MOST_FRAGMENTS = 8
_LEAST_FRAGMENT_BYTES = 1 << 16
_HEAVY_BYTES = 32 << 20  # of a worker's parameters in fp32: from here on a copy of them more or less matters
_NOT_WORTH_IT_S = 3.0  # waiting less than this over a whole run is no reason to merge late
_NOT_WORTH_IT = 0.01  # nor is this share of it
_NICE = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
_BY_NEED: tuple[Bits, ...] = (8, 4, 2)


@dataclass(frozen=True)
class Exchange:
    """What a merge is made of. `step_s` is the slowest site's, None where nothing is known of its speed."""

    parameters: int
    parts: int
    sites: int
    step_s: float
    link: LinkFacts
    copy_bytes_s: float
    on_accelerators: bool

    def payload(self, bits: Bits) -> int:
        """Bytes of a round from one site to one other."""
        return payload_bytes(self.parameters, bits)

    def on_link_s(self, bits: Bits) -> float:
        """Seconds of a round that the link is busy, in one direction."""
        return self.payload(bits) * 8 / (self.link.rate_mbps * 1e6)

    @property
    def is_heavy(self) -> bool:
        """Whether what a worker keeps of a turn under way, its parameters as they were and the frames, is much memory."""
        return 4 * self.parameters / self.parts >= _HEAVY_BYTES

    @property
    def merge_s(self) -> float:
        """Seconds of a worker's own work on a round."""
        return self._passes_s(_OWN_PASSES + _PEER_PASSES * (self.sites - 1))

    @property
    def held_up_s(self) -> float:
        """Seconds of it that training stands still."""
        return self._passes_s(_COPY_PASSES) if self.on_accelerators else self.merge_s

    def arrival_s(self, bits: Bits, fragments: int) -> float:
        """Seconds from the beginning of a turn to its merge."""
        return transfer_s(self.payload(bits) / fragments, self.link) + self.merge_s / fragments

    def steps_for_link(self, bits: Bits) -> int:
        """Least H at which the link has time to spare."""
        return max(1, math.ceil(self.on_link_s(bits) / _BUSY / self.step_s))

    @property
    def steps_for_merge(self) -> int:
        """Least H at which merges cost little."""
        return max(1, math.ceil(self.held_up_s / _MERGE_SHARE / self.step_s))

    def _passes_s(self, passes: int) -> float:
        return 4 * passes * self.parameters / self.parts / self.copy_bytes_s


@dataclass(frozen=True)
class Merging:
    """The choices, and why each was made."""

    steps: int
    bits: Bits
    overlap_steps: int
    fragments: int
    reasons: dict[str, str]


def choose_merging(recipe: Recipe, exchange: Exchange) -> Merging:
    """H, bits, fragments and tau, in that order; what the recipe gives is kept."""
    bits, why_bits = _bits(recipe, exchange)
    steps, why_steps = _steps(recipe, exchange, bits)
    fragments, why_fragments = _fragments(recipe, exchange, bits, steps)
    overlap, why_overlap = _overlap(recipe, exchange, bits, steps, fragments)
    if overlap == 0 and recipe.train.outer.fragments == "auto" and not exchange.is_heavy:
        fragments, why_fragments = 1, "without overlap a round travels whole"
    reasons = {"steps": why_steps, "bits": why_bits, "overlap_steps": why_overlap, "fragments": why_fragments}
    return Merging(steps, bits, overlap, fragments, reasons)


GIVEN = "as the recipe says"


def _bits(recipe: Recipe, exchange: Exchange) -> tuple[Bits, str]:
    given = recipe.train.outer.bits
    if given != "auto":
        return given, GIVEN
    given_steps = recipe.train.inner.steps
    limits = {8: _OFTEN, 4: _SELDOM}
    for bits in _BY_NEED[:-1]:
        limit = limits[bits] if given_steps == "auto" else given_steps
        if exchange.steps_for_link(bits) <= limit:
            why = f"a round of {bits} bits a value takes {_seconds(exchange.on_link_s(bits))} of the link"
            return bits, f"{why}, which has the time within {limit} steps"
    last = _BY_NEED[-1]
    return last, f"the link is slow: even so a round takes it {_seconds(exchange.on_link_s(last))}"


def _steps(recipe: Recipe, exchange: Exchange, bits: Bits) -> tuple[int, str]:
    given = recipe.train.inner.steps
    if given != "auto":
        return given, GIVEN
    most = max(1, recipe.train.steps // _FEWEST_ROUNDS)
    by_link, by_merge = exchange.steps_for_link(bits), exchange.steps_for_merge
    needed = max(by_link, by_merge)
    if needed > most:
        return most, f"at least {_FEWEST_ROUNDS} merges in the run; to merge every {needed} steps would be cheaper"
    steps = min(most, _nice(max(_OFTEN, needed)))
    if needed <= _OFTEN:
        return steps, "merging more often gains little, and the link has time to spare"
    if by_link >= by_merge:
        return steps, f"with fewer than {needed} the link would be busy for more than half of the time"
    return steps, f"with fewer than {needed} merges would take more than {_MERGE_SHARE:.0%} of the time"


def _fragments(recipe: Recipe, exchange: Exchange, bits: Bits, steps: int) -> tuple[int, str]:
    given = recipe.train.outer.fragments
    if given != "auto":
        return given, GIVEN
    window = _WINDOW * steps * exchange.step_s
    most = _most_fragments(exchange, bits)
    if exchange.is_heavy:
        return most, "what is under way of a round takes memory, in one piece as much as the parameters themselves"
    fragments = next((count for count in range(1, most) if exchange.arrival_s(bits, count) <= window), most)
    taken = _seconds(exchange.arrival_s(bits, fragments))
    if fragments == 1:
        return 1, f"a whole round is merged {taken} after it begins, within a quarter of the time to the next"
    return fragments, f"in one piece a round would be merged {_seconds(exchange.arrival_s(bits, 1))} late; so, {taken}"


def _most_fragments(exchange: Exchange, bits: Bits) -> int:
    blocks = exchange.parameters // exchange.parts // BLOCK
    return max(1, min(_MOST_FRAGMENTS, blocks, exchange.payload(bits) // exchange.parts // _LEAST_FRAGMENT_BYTES))


def _overlap(recipe: Recipe, exchange: Exchange, bits: Bits, steps: int, fragments: int) -> tuple[int, str]:
    given = recipe.train.outer.overlap_steps
    if given != "auto":
        return given, GIVEN
    arrival = exchange.arrival_s(bits, fragments)
    needed = math.ceil(arrival / exchange.step_s)
    overlap = min(needed, steps - 1)
    hidden = min(arrival, overlap * exchange.step_s)
    turns, run_s = recipe.train.steps / steps * fragments, recipe.train.steps * exchange.step_s
    if hidden * turns < max(_NOT_WORTH_IT_S, _NOT_WORTH_IT * run_s) or hidden < _WINDOW * arrival:
        return 0, f"training on meanwhile would save {_seconds(hidden * turns)} of the whole run, and merge late"
    return overlap, f"frames need {_seconds(arrival)}, a step takes {_seconds(exchange.step_s)}"


def _nice(value: int) -> int:
    """The least round number that is not smaller."""
    if value <= _NICE[0]:
        return value
    scale = 1
    while value > _NICE[-1] * scale:
        if value <= 100 * scale:
            return 100 * scale
        scale *= 10
    return next(number * scale for number in _NICE if number * scale >= value)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1e3:.0f} ms" if value >= 0.01 else f"{value * 1e3:.1f} ms"
