"""Whose frames are merged may change between turns: the others go on alike, and who comes back goes on from what they have."""

from contextlib import ExitStack, closing

import pytest
import torch

from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of
from tests.workloads.sync.turns import (
    SAMPLES,
    SEEDS,
    SIZE,
    THREE,
    TWO,
    copy_of,
    finish,
    learn,
    make_synchronizer,
    together_by_site,
)
from workloads.spec.errors import UserError
from workloads.sync.council import View

PLAN = {"lr": 0.7, "momentum": 0.6, "bits": 4}


class Sites:
    """Three sites after one round together."""

    def __init__(self, stack, fragments=1):
        self.fragments = fragments
        ports = ports_of(*THREE)
        self.exchanges = {site: stack.enter_context(make_exchange(site, ports, fragments=fragments)) for site in THREE}
        self.rounds = {
            site: stack.enter_context(
                closing(make_synchronizer(self.exchanges[site], THREE, torch.zeros(SIZE), **PLAN))
            )
            for site in THREE
        }
        self.local = together_by_site(lambda site: learn(self.rounds[site], torch.zeros(SIZE), SEEDS[site], 10), THREE)

    def agree(self, site, *views):
        """Let `site` go by cohorts `views`, each with its first turn, after all three."""
        everyone = View(epoch=0, sites=THREE, from_turns=(1,))
        later = [View(epoch=i, sites=s, from_turns=(t,)) for i, (s, t) in enumerate(views, start=1)]
        self.exchanges[site].adopt((everyone, *later))
        for sites, turn in views:
            if turn > self.rounds[site].committed:
                self.rounds[site].set_cohort(sites, turn)

    def learn(self, site, trained):
        self.local[site] = learn(self.rounds[site], self.local[site], SEEDS[site] + trained, trained)
        return self.rounds[site].digest()


@pytest.fixture(params=[1, 2])
def sites(request):
    with ExitStack() as stack:
        yield Sites(stack, request.param)


def test_two_sites_go_on_without_the_third_and_count_their_own_samples(sites):
    """They have begun a round with it when they agree that it is gone."""

    def go_on(site):
        rounds, local = sites.rounds[site], sites.local[site] + SEEDS[site]
        for _ in rounds.fragments:
            rounds.begin(local[rounds.next_fragment], 10 + SAMPLES[site])
        assert not rounds.arrived(0.05)
        assert rounds.hold() == sites.fragments
        sites.agree(site, (TWO, sites.fragments + 1))
        rounds.release()
        reports = [finish(rounds, local) for _ in rounds.fragments]
        assert [report.samples for report in reports] == [{site: SAMPLES[site] for site in TWO}] * sites.fragments
        sites.local[site] = local
        return rounds.digest(), sites.learn(site, 20)

    results = together_by_site(go_on)
    assert results["aws-1"] == results["os-1"]
    ours, theirs = sites.local["aws-1"], sites.local["os-1"]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)  # but for the rest of what each holds back


def test_a_site_that_is_left_alone_holds_nothing_back_any_more(sites):
    rounds = sites.rounds["aws-1"]
    assert rounds.outer_tensors()["residual"].any()
    sites.agree("aws-1", (("aws-1",), sites.fragments + 1))
    assert rounds.form_of(sites.fragments + 1).bits == 32
    sites.learn("aws-1", 20)
    assert not rounds.outer_tensors()["residual"].any()
    with pytest.raises(ValueError, match="turns are merged already"):
        rounds.set_cohort(THREE, 2 * sites.fragments)


def test_a_turn_that_was_begun_alone_cannot_be_merged_with_others(sites):
    rounds = sites.rounds["aws-1"]
    first = sites.fragments + 1
    sites.agree("aws-1", (("aws-1",), first))
    rounds.hold()
    rounds.begin(sites.local["aws-1"][rounds.next_fragment], 20)
    rounds.hold()
    with pytest.raises(ValueError, match=f"a cohort from turn {first} on; turn {first} was begun alone"):
        rounds.set_cohort(TWO, first)
    rounds.set_cohort(TWO, first + 1)
    assert rounds.form_of(first).bits == 32
    assert rounds.form_of(first + 1).bits == 4


def test_nothing_is_merged_while_the_cohort_is_being_agreed_on(sites):
    first = sites.fragments + 1

    def begin(site):
        rounds = sites.rounds[site]
        rounds.begin(sites.local[site][rounds.next_fragment], 20)

    assert sites.rounds["aws-1"].hold() == sites.fragments
    for site in THREE:
        begin(site)
    assert sites.exchanges["aws-1"].collect(first, HANG_S) is not None
    assert not sites.rounds["aws-1"].arrived(0.05)
    assert sites.rounds["aws-1"].hold() == sites.fragments
    sites.rounds["aws-1"].release()
    assert sites.rounds["aws-1"].arrived(HANG_S)
    assert sites.rounds["os-1"].arrived(HANG_S)


def test_sites_that_merge_different_cohorts_find_out_in_the_fragment_s_next_turn(sites):
    sites.rounds["aws-1"].set_cohort(TWO, sites.fragments + 1)

    def go_on(site):
        sites.learn(site, 20)
        with pytest.raises(UserError, match="grew from another state"):
            sites.learn(site, 30)

    together_by_site(go_on, THREE)


def test_a_site_that_comes_back_goes_on_from_the_others_state_and_counts_its_samples_anew(sites):
    first, back = sites.fragments + 1, 2 * sites.fragments + 1
    views = ((TWO, first), (THREE, back))
    for site in TWO:
        sites.agree(site, *views)
    before = together_by_site(lambda site: sites.learn(site, 20))

    state = sites.rounds["aws-1"].heal_state()
    assert all(torch.equal(state[name], tensor) for name, tensor in sites.rounds["os-1"].heal_state().items())
    assert state.keys() == {"parameters", "momentum", "progress"}
    lost = sites.rounds["os-2"]
    lost.begin(torch.full_like(sites.local["os-2"][lost.next_fragment], 9.0), 17)
    sites.exchanges["os-2"]._restart(back)
    sites.exchanges["os-2"].adopt(sites.exchanges["aws-1"].views)
    lost.load_healed(state, trained=17)
    assert (lost.round, lost.pending, lost.digest()) == (2, False, before["aws-1"])
    assert not lost.outer_tensors()["residual"].any()
    sites.local["os-2"] = lost.outer_tensors()["parameters"].clone()

    def go_on(site):
        rounds, trained = sites.rounds[site], {"aws-1": 21, "os-1": 22, "os-2": 20}[site]
        local = sites.local[site] + 1
        for _ in rounds.fragments:
            rounds.begin(local[rounds.next_fragment], trained)
        reports = [finish(rounds, local) for _ in rounds.fragments]
        assert [report.samples for report in reports] == [{"aws-1": 1, "os-1": 2, "os-2": 3}] * sites.fragments
        return rounds.digest()

    digests = together_by_site(go_on, THREE)
    assert len(set(digests.values())) == 1


def test_a_state_remembers_the_cohorts(sites):
    rounds = sites.rounds["aws-1"]
    sites.agree("aws-1", (TWO, sites.fragments + 1))
    state = copy_of(rounds.state_dict())
    with make_exchange("aws-1", ports_of(*THREE), fragments=sites.fragments) as exchange:
        again = make_synchronizer(exchange, THREE, torch.zeros(SIZE), **PLAN)
        again.load_state_dict(state)
        assert again._state.cohort(sites.fragments) == THREE
        assert again._state.cohort(sites.fragments + 1) == TWO


@pytest.mark.parametrize(
    ("cohort", "turn", "match"),
    [
        (("os-1", "os-2"), 9, "aws-1 must be in it"),
        (("aws-1", "os-9"), 9, r"others of \['aws-1', 'os-1', 'os-2'\]"),
        (TWO, 1, "a cohort from turn 1 on; . turns are merged already"),
    ],
)
def test_a_cohort_that_cannot_be_is_refused(sites, cohort, turn, match):
    with pytest.raises(ValueError, match=match):
        sites.rounds["aws-1"].set_cohort(cohort, turn)


@pytest.mark.parametrize("missing", ["parameters", "momentum", "progress"])
def test_an_outer_state_without_one_of_its_parts_heals_nobody(sites, missing):
    state = sites.rounds["aws-1"].heal_state()
    del state[missing]
    with pytest.raises(ValueError, match="state has no"):
        sites.rounds["os-2"].load_healed(state)
