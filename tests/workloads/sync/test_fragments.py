"""A part is cut at borders of blocks into even pieces, and a turn says which piece travels in which round."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.spec.errors import UserError
from workloads.sync.fragments import fragment_of, fragment_slices, round_of, turn_of
from workloads.sync.payload import BLOCK

FRAGMENTS = st.integers(1, 40)


@given(FRAGMENTS, st.integers(0, 1 << 20))
def test_fragments_cover_the_part_in_whole_blocks_and_differ_by_one_at_most(fragments, more):
    size = (fragments - 1) * BLOCK + 1 + more
    slices = fragment_slices(size, fragments)
    assert slices[0].start == 0
    assert slices[-1].stop == size
    assert all(earlier.stop == later.start for earlier, later in pairwise(slices))
    assert all(where.start % BLOCK == 0 for where in slices)
    blocks = [-(-(where.stop - where.start) // BLOCK) for where in slices]
    assert len(slices) == fragments
    assert 1 <= min(blocks) <= max(blocks) <= min(blocks) + 1


def test_one_fragment_is_the_whole_part():
    assert fragment_slices(1000, 1) == (slice(0, 1000),)


@pytest.mark.parametrize(("size", "fragments", "most"), [(1000, 5, 4), (1, 2, 1), (256, 2, 1)])
def test_more_fragments_than_blocks_are_refused(size, fragments, most):
    with pytest.raises(
        UserError, match=f"{size} parameters has .* too few for {fragments} fragments; use at most {most}"
    ):
        fragment_slices(size, fragments)


@given(st.integers(1, 1000), FRAGMENTS, st.data())
def test_a_turn_is_a_round_and_a_fragment(round_number, fragments, data):
    fragment = data.draw(st.integers(0, fragments - 1))
    turn = turn_of(round_number, fragment, fragments)
    assert (round_of(turn, fragments), fragment_of(turn, fragments)) == (round_number, fragment)


@given(FRAGMENTS)
def test_turns_count_through_all_fragments_of_a_round_and_then_of_the_next(fragments):
    order = [turn_of(number, fragment, fragments) for number in (1, 2, 3) for fragment in range(fragments)]
    assert order == list(range(1, 3 * fragments + 1))


def test_with_one_fragment_a_turn_is_a_round():
    assert [turn_of(number, 0, 1) for number in (1, 2, 3)] == [1, 2, 3]


def test_before_the_first_turn_no_round_is_done():
    assert round_of(0, 4) == 0
