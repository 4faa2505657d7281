"""Who goes on with whom, over real exchanges."""

import logging
import threading

import pytest

from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import HANG_S, ports_of, together
from tests.workloads.sync.sites import BATCH, STEPS, Killed, TrainingSite, disk_of, kill_at, until_killed
from workloads.spec.membership import DECISION, MembershipDecision
from workloads.spec.recipe import MembershipSpec

TWO = ("aws-1", "os-1")
THREE = ("aws-1", "os-1", "os-2")
SOON = MembershipSpec(on_loss="remove", patience_s=0.5)


@pytest.fixture
def make(tmp_path):
    """Makes sites that share a folder and ports."""
    ports = ports_of(*THREE)

    def make(name, names=THREE, **changes):
        own = {site: ports[site] for site in names}
        disk = changes.pop("disk", None) or disk_of(tmp_path, name)
        return TrainingSite(name, own, disk, **{"rounds": 4, **changes})

    return make


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("names", [TWO, THREE])
def test_sites_that_all_stay_merge_all_that_they_train_on(make, names, fragments):
    sites = [make(name, names, fragments=fragments) for name in names]
    outcomes = together(*[site.run for site in sites])
    assert len({outcome.digest for outcome in outcomes}) == 1
    for outcome in outcomes:
        assert outcome.merged == {site.name: site.trained for site in sites}
        assert outcome.cohorts == [names]
        assert outcome.merged[names[0]] >= 4 * STEPS * BATCH[names[0]]


@pytest.mark.parametrize("fragments", [1, 2])
def test_more_than_half_agree_to_go_on_without_a_site_that_is_lost(make, fragments, caplog):
    sites = [make(name, spec=SOON, fragments=fragments) for name in TWO]
    lost = make("os-2", committed=kill_at(2 * fragments), fragments=fragments)
    with caplog.at_level(logging.WARNING):
        first, second, gone = together(*[lambda site=site: until_killed(site) for site in (*sites, lost)])
    assert gone is None
    assert first.digest == second.digest
    assert first.cohorts == second.cohorts == [THREE, TWO]
    own = {site.name: site.trained for site in sites}
    assert first.merged == second.merged == {**own, "os-2": 2 * STEPS * BATCH["os-2"]}
    assert f"aws-1: goes on without os-2 from turn {2 * fragments + 1}" in caplog.text


def test_fewer_than_half_do_not_go_on(make):
    waited = threading.Event()

    def wait_long(site, turn):
        if site.exchange.overdue().get("os-2", 0) > 3 * SOON.patience_s:
            waited.set()
            raise Killed

    alone = make("aws-1", spec=SOON, waiting=wait_long)
    together(
        lambda: until_killed(alone),
        *[lambda name=name: until_killed(make(name, committed=kill_at(1))) for name in ("os-1", "os-2")],
    )
    assert waited.is_set()
    assert [view.sites for view in alone.membership.views] == [THREE]
    assert alone.synchronizer.committed == 1


def test_of_two_sites_the_named_survivor_goes_on_alone(make):
    spec = MembershipSpec(on_loss="remove", patience_s=0.3, survivor="aws-1")
    outcome, _ = together(
        make("aws-1", TWO, spec=spec).run,
        lambda: until_killed(make("os-1", TWO, spec=spec, committed=kill_at(2))),
    )
    assert outcome.cohorts == [TWO, ("aws-1",)]
    assert outcome.merged == {"aws-1": outcome.trained, "os-1": 2 * STEPS * BATCH["os-1"]}


def test_a_recipe_that_waits_leaves_it_to_the_operator(make):
    waits = threading.Event()
    alone = make("aws-1", TWO, waiting=lambda site, turn: waits.set())
    lost = threading.Event()

    def lose():
        until_killed(make("os-1", TWO, committed=kill_at(1)))
        lost.set()

    def decide():
        assert lost.wait(HANG_S)
        waits.clear()
        assert waits.wait(HANG_S)
        assert [view.sites for view in alone.membership.views] == [TWO]
        MembershipDecision(remove=("os-1",)).save(alone.disk.folder / DECISION)

    outcome, *_ = together(alone.run, lose, decide)
    assert outcome.cohorts == [TWO, ("aws-1",)]
    assert outcome.merged["aws-1"] == outcome.trained
    assert not (alone.disk.folder / DECISION).exists()


def test_who_has_merged_the_lost_site_s_frame_passes_it_on(make):
    """os-2's second frame reaches os-1 alone, which merges it; then os-2 is gone. Nobody contradicts os-1."""
    links = []
    merged = threading.Event()

    def cut(site, turn):
        if turn == 1:
            assert site.exchange.drain(HANG_S)
            links[0].cut()

    def die(site, turn):
        if turn == 2:
            assert merged.wait(HANG_S)
            raise Killed

    def tell(site, turn):
        if turn == 2:
            merged.set()

    lost = make("os-2", committed=cut, begun=die)
    with BreakableLink(lost.ports["os-2"]) as link:
        links.append(link)
        kept, lacking, _ = together(
            make("os-1", spec=SOON, committed=tell).run,
            make("aws-1", spec=SOON, via={"os-2": link.port}).run,
            lambda: until_killed(lost),
        )
    assert kept.digest == lacking.digest
    assert kept.cohorts == lacking.cohorts == [THREE, TWO]
    assert kept.merged == lacking.merged
    assert kept.merged["os-2"] == 2 * STEPS * BATCH["os-2"]


def test_a_site_that_restarts_does_not_wait_for_one_that_was_removed(make):
    """It is killed when the others of three have left one out, and knows of it from its folder and from its peer."""
    lost = make("os-2", committed=kill_at(1))
    first = make("aws-1", spec=SOON, committed=kill_at(3))

    def die_and_return():
        assert until_killed(first) is None
        return make("aws-1", spec=SOON, disk=first.disk).run()

    returned, stayed, _ = together(die_and_return, make("os-1", spec=SOON).run, lambda: until_killed(lost))
    assert returned.digest == stayed.digest
    assert returned.cohorts == stayed.cohorts == [THREE, TWO]
    assert stayed.merged == {
        "aws-1": returned.trained,
        "os-1": stayed.trained,
        "os-2": STEPS * BATCH["os-2"],
    }


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_removed_site_that_returns_heals_and_joins_at_a_round(make, names, fragments):
    """It is killed when it has sent its second round, and starts again when the others have gone on without it."""
    gone_on = threading.Event()
    back = threading.Event()

    def hold_back(site, turn):
        if len(site.membership.views) > 1:
            gone_on.set()
            assert back.wait(HANG_S)

    spec = MembershipSpec(on_loss="remove", patience_s=1.0, survivor=names[0])
    stay = [make(name, names, spec=spec, rounds=12, fragments=fragments, committed=hold_back) for name in names[:-1]]
    last = names[-1]
    first = make(last, names, spec=spec, rounds=12, fragments=fragments, begun=kill_at(2 * fragments))
    again = make(last, names, spec=spec, rounds=12, fragments=fragments, disk=first.disk)

    def leave_and_return():
        assert until_killed(first) is None
        assert gone_on.wait(HANG_S)
        threading.Timer(0.3, back.set).start()
        return again.run()

    *stayed, returned = together(*[site.run for site in stay], leave_and_return)
    assert {outcome.digest for outcome in stayed} == {returned.digest}
    assert stayed[0].cohorts == returned.cohorts == [names, names[:-1], names]
    for outcome in stayed:
        assert {name: outcome.merged[name] for name in names[:-1]} == {site.name: site.trained for site in stay}
        # Its second round was merged before it was gone, and not made again.
        assert outcome.merged[last] == returned.trained - returned.lost + STEPS * BATCH[last]
