"""What a site says of refused frames is of all its ranks, whichever part of the model a rank exchanges."""

from collections import Counter

import pytest
import torch

from tests.kit.gloo import gloo_world
from workloads.spec.plan import Layout
from workloads.trainer.refusals import SiteRefusals
from workloads.trainer.world import World, make_world

CPU = torch.device("cpu")
COUNTED = ({"bad-checksum": 2, "stale-round": 1}, {"stale-round": 4, "left-out": 1})


@pytest.fixture(scope="module")
def two():
    with gloo_world(2) as world:
        yield world


def gather(rank: int) -> tuple[int, dict[str, int], dict[str, int], int]:
    """Total and reasons after a look round, reasons once one more frame was refused here, and the total after that."""
    own = Counter(COUNTED[rank])
    refused = SiteRefusals(make_world(rank, Layout(shards=2), CPU), own)
    total = refused.gather()
    seen = refused.by_reason()
    own["torn"] += rank + 1
    return total, seen, refused.by_reason(), refused.gather()


def test_frames_that_any_part_refused_are_counted_by_reason(two):
    for total, seen, later, last in two.run(gather):
        assert total == 8
        assert seen == {"bad-checksum": 2, "stale-round": 5, "left-out": 1}
        assert {reason: count for reason, count in later.items() if reason != "torn"} == seen
        assert last == 8 + 1 + 2


def test_own_frames_are_counted_at_once(two):
    assert [later["torn"] for _, _, later, _ in two.run(gather)] == [1, 2]


def test_a_site_of_one_rank_counts_its_own():
    own = Counter({"bad-checksum": 3})
    refused = SiteRefusals(World(0, 1, CPU), own)
    assert refused.by_reason() == {"bad-checksum": 3}
    own["bad-checksum"] += 1
    assert (refused.by_reason(), refused.gather()) == ({"bad-checksum": 4}, 4)
