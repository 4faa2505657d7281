"""The agreement upon the cohort, with no network and no clock: whatever is heard in whatever order."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.sync.council import Council, View, cohort_of, first_views, next_turn_of, restarted

SITES = ("aws-1", "os-1", "os-2", "os-3", "os-4")


def council(site, count=3, **options):
    return Council(site, first_views(SITES[:count], options.pop("parts", 1)), **options)


def tell(source, *targets):
    for target in targets:
        target.hear(source.site, source.standing)


def settle(councils, committed, **missing):
    """Everyone hears everyone and considers, until nothing is new."""
    for _ in range(4):
        for one in councils:
            one.consider(committed=committed[one.site], begun=max(committed[one.site]), lost=missing.get("lost", ()))
            tell(one, *(other for other in councils if other is not one))


def test_a_removal_holds_from_the_first_turn_that_nobody_has_committed():
    first, second = council("aws-1"), council("os-1")
    settle([first, second], {"aws-1": (4,), "os-1": (5,)}, lost={"os-2"})
    assert first.views == second.views
    assert first.newest == View(epoch=1, sites=("aws-1", "os-1"), from_turns=(6,))
    assert first.vote is second.vote is None


def test_a_removal_is_found_for_each_part_of_the_model():
    first, second = council("aws-1", parts=2), council("os-1", parts=2)
    settle([first, second], {"aws-1": (4, 6), "os-1": (5, 5)}, lost={"os-2"})
    assert first.newest.from_turns == second.newest.from_turns == (6, 7)
    assert cohort_of(first.views, 6, 0) == ("aws-1", "os-1")
    assert cohort_of(first.views, 6, 1) == SITES[:3]


def test_a_ballot_spreads_to_a_site_that_misses_nobody():
    first, second = council("aws-1"), council("os-1")
    first.consider(committed=(1,), begun=2, lost={"os-2"})
    tell(first, second)
    second.consider(committed=(1,), begun=2)
    assert second.vote.lost == {"os-2"}


def test_a_vote_is_not_withdrawn_and_keeps_what_was_committed_when_it_was_cast():
    one = council("aws-1")
    one.consider(committed=(3,), begun=4, lost={"os-2"})
    one.consider(committed=(9,), begun=9)
    assert one.vote.lost == {"os-2"}
    assert one.vote.committed == (3,)


def test_nothing_is_decided_while_a_site_that_remains_has_not_voted():
    one = council("aws-1", 5)
    one.consider(committed=(1,), begun=2, lost={"os-4"})
    for name in ("os-1", "os-2"):
        other = council(name, 5)
        other.consider(committed=(1,), begun=2, lost={"os-4"})
        tell(other, one)
    assert not one.consider(committed=(1,), begun=2)


@pytest.mark.parametrize(
    ("count", "lost", "is_allowed"), [(2, 1, False), (3, 1, True), (3, 2, False), (4, 2, False), (5, 2, True)]
)
def test_more_than_half_must_remain(count, lost, is_allowed):
    one = council("aws-1", count)
    one.consider(committed=(1,), begun=1, lost=SITES[count - lost : count])
    assert (one.vote is not None or one.newest.epoch == 1) == is_allowed


@pytest.mark.parametrize(("survivor", "is_alone"), [("aws-1", True), ("os-1", False), (None, False)])
def test_of_two_only_the_survivor_goes_on(survivor, is_alone):
    one = council("aws-1", 2, survivor=survivor)
    assert one.consider(committed=(1,), begun=1, lost={"os-1"}) == is_alone


def test_what_an_operator_orders_needs_no_majority():
    one = council("aws-1", 3)
    assert one.consider(committed=(1,), begun=1, ordered={"os-1", "os-2"})
    assert one.newest.sites == ("aws-1",)


def test_a_join_holds_from_the_round_that_nobody_has_begun():
    views = (*first_views(SITES[:3]), View(epoch=1, sites=("aws-1", "os-1"), from_turns=(4,)))
    first, second = (Council(name, views, fragments=4) for name in ("aws-1", "os-1"))
    back = Council("os-2", views, fragments=4)
    back.wants_in = True
    tell(back, first)
    for one, begun in ((first, 6), (second, 9), (first, 7)):
        one.consider(committed=(5,), begun=begun)
        tell(one, *({first, second} - {one}))
    assert first.newest == View(epoch=2, sites=SITES[:3], from_turns=(13,))
    tell(first, back)
    back.learn()
    assert not back.is_out


def test_a_site_that_gives_itself_up_is_removed_and_let_in_again_without_a_majority():
    one, other = council("aws-1", 2), council("os-1", 2)
    other.wants_in = True
    tell(other, one)
    assert one.consider(committed=(5,), begun=6)
    assert one.newest.sites == ("aws-1",)
    tell(one, other)
    other.learn()
    assert not one.consider(committed=(5,), begun=6)  # what it said before is settled
    tell(other, one)
    assert one.consider(committed=(5,), begun=6)
    assert [view.sites for view in one.views] == [("aws-1", "os-1"), ("aws-1",), ("aws-1", "os-1")]


def test_sites_that_all_start_again_leave_a_removed_one_out_from_there():
    views = (*first_views(SITES[:3]), View(epoch=1, sites=("aws-1", "os-1"), from_turns=(9,)))
    assert restarted(views, 4)[-1].from_turns == (4,)
    assert restarted(views, 12) == views


def test_a_site_s_next_turn_is_the_first_that_all_take_part_in():
    views = (
        *first_views(SITES[:2]),
        View(epoch=1, sites=("aws-1",), from_turns=(4,)),
        View(epoch=2, sites=SITES[:2], from_turns=(8,)),
    )
    assert [next_turn_of(views, ("os-1",), turn) for turn in (1, 3, 4, 9)] == [1, 3, 8, 9]
    assert next_turn_of(views[:2], ("os-1", "aws-1"), 5) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_two_sites_that_go_on_ever_hold_different_views(data):
    """Any order of hearing and considering, any opinions about who is lost: one history of views for all in it.

    And no two of them merge the frames of different cohorts in a turn.
    """
    count = data.draw(st.sampled_from([3, 4, 5]))
    councils = {name: council(name, count) for name in SITES[:count]}
    committed = dict.fromkeys(councils, 0)
    merged = {name: {} for name in councils}  # by turn: with whom
    names = st.sampled_from(sorted(councils))
    for _ in range(data.draw(st.integers(10, 60))):
        site = councils[data.draw(names)]
        action = data.draw(st.sampled_from(["hear", "hear", "consider", "commit"]))
        if action == "hear":
            site.hear((other := councils[data.draw(names)]).site, other.standing)
        elif action == "consider":
            lost = data.draw(st.sets(names, max_size=2)) - {site.site}
            site.consider(committed=(committed[site.site],), begun=committed[site.site] + 1, lost=lost)
        elif site.vote is None and not site.is_out:
            turn = committed[site.site] + 1
            others = cohort_of(site.views, turn)
            if all(committed[other] >= turn - 1 for other in others):  # all have begun the turn
                committed[site.site], merged[site.site][turn] = turn, others
    held = {view for one in councils.values() for view in one.views}
    # Who decided, and was removed by the others before they heard of it, is alone with its view and cannot act upon it.
    acted_upon = {view for view in held if all(view in councils[name].views for name in view.sites)}
    assert len({view.epoch for view in acted_upon}) == len(acted_upon)
    newest = max(acted_upon, key=lambda view: view.epoch)
    for one, other in itertools.combinations(councils.values(), 2):
        if one.site in other.newest.sites and other.site in one.newest.sites:
            ours, theirs = merged[one.site], merged[other.site]
            assert all(ours[turn] == theirs[turn] for turn in ours.keys() & theirs.keys())
    for name in newest.sites:
        history = councils[name].views
        assert all(view in history for view in acted_upon if view.epoch <= newest.epoch and name in view.sites)
        if history[-1] == newest and len(history) > 1:
            assert councils[name].vote is None or committed[name] <= max(councils[name].vote.committed)


def test_a_site_that_hears_of_a_view_has_committed_nothing_that_it_contradicts():
    """Whatever the voters had committed when they voted: the view begins after it."""
    for turns in ((1, 1), (1, 2), (7, 3)):
        first, second = council("aws-1"), council("os-1")
        committed = {"aws-1": (turns[0],), "os-1": (turns[1],)}
        settle([first, second], committed, lost={"os-2"})
        assert first.newest == second.newest
        assert all(committed[one.site][0] < one.newest.from_turns[0] for one in (first, second))
