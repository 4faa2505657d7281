"""Fragments of a model part, and turns: which fragment travels when (Streaming DiLoCo, arXiv 2501.18512).

A part is cut into `fragments` pieces that travel one after another, so that traffic is even. Rounds count from 1 and
fragments from 0; turn `(round - 1) * fragments + fragment + 1` is the exchange of one fragment in one round. Turns are
begun in order and committed in order, so one number says how far a site is. With one fragment a turn is a round.
"""

import math

from workloads.spec.errors import UserError
from workloads.sync.payload import BLOCK


def fragment_slices(size: int, fragments: int) -> tuple[slice, ...]:
    """Cuts of `size` values into `fragments` pieces at multiples of a block; they differ by at most one block.

    Raises:
        UserError: there are fewer blocks than fragments.
    """
    blocks = math.ceil(size / BLOCK)
    if not 1 <= fragments <= blocks:
        raise UserError(
            f"a part of {size} parameters has {blocks} blocks of {BLOCK}, too few for {fragments} fragments; "
            f"use at most {max(1, blocks)}"
        )
    borders = [blocks * index // fragments * BLOCK for index in range(fragments)]
    return tuple(slice(start, stop) for start, stop in zip(borders, [*borders[1:], size], strict=True))


def turn_of(round_number: int, fragment: int, fragments: int) -> int:
    """The turn of `fragment` in `round_number`."""
    return (round_number - 1) * fragments + fragment + 1


def round_of(turn: int, fragments: int) -> int:
    """The round that `turn` belongs to; 0 for turn 0, before the first."""
    return (turn - 1) // fragments + 1


def fragment_of(turn: int, fragments: int) -> int:
    """The fragment that travels in `turn`."""
    return (turn - 1) % fragments
