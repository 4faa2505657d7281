"""Everything that can go wrong between sites, over mutual TLS: afterwards all hold the same state, and no sample that a
site trained on is lost or counted twice.
"""

import json
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.kit.faults import Impostor, Once, Skew
from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import HANG_S, ports_of, together
from tests.workloads.sync.sites import BATCH, STEPS, TrainingSite, disk_of, kill_at, until_killed
from workloads.spec.recipe import MembershipSpec

TWO = ("aws-1", "os-1")
THREE = ("aws-1", "os-1", "os-2")
LONG_S = HANG_S / 2
ROUNDS = 5
AHEAD = 3  # steps that a site makes alone before a link is mended


class Stage:
    """Sites of one run, every one of which reaches every other through a link of its own."""

    def __init__(self, stack, folder, authority, names, **settings):
        self.names = names
        self._stack = stack
        self._folder = folder
        self._settings = {"rounds": ROUNDS, **settings}
        self.ports = ports_of(*names)
        self.credentials = {name: authority.issue(name) for name in names}
        self.links = {
            (name, peer): stack.enter_context(BreakableLink(self.ports[peer]))
            for name in names
            for peer in names
            if peer != name
        }
        self._via = {
            name: {peer: link.port for (source, peer), link in self.links.items() if source == name} for name in names
        }

    def site(self, name, **changes):
        disk = changes.pop("disk", None) or disk_of(self._folder, name)
        settings = {"via": self._via[name], "credentials": self.credentials[name], **self._settings, **changes}
        return TrainingSite(name, self.ports, disk, **settings)

    def sites(self, **hooks):
        return [self.site(name, **hooks) for name in self.names]

    def links_of(self, name):
        """All links from and to a site."""
        return [link for ends, link in self.links.items() if name in ends]

    def through(self, name, peer, tamper):
        """Put an impostor of `peer` between it and `name`."""
        port = ports_of(peer)[peer]
        self._via[name][peer] = port
        self._stack.enter_context(
            Impostor(
                caller=self.credentials[name],
                target=self.credentials[peer],
                target_name=peer,
                port=port,
                target_port=self.ports[peer],
                tamper=tamper,
            )
        )


@pytest.fixture
def stage(tmp_path, authority):
    with ExitStack() as stack:
        yield lambda names=TWO, **settings: Stage(stack, tmp_path, authority, names, **settings)


def run(sites):
    return dict(zip([site.name for site in sites], together(*[site.run for site in sites]), strict=True))


def assert_nothing_is_lost(outcomes):
    """Equal states everywhere, and everywhere all samples of every site, once."""
    assert len({outcome.digest for outcome in outcomes.values()}) == 1
    trained = {name: outcome.trained for name, outcome in outcomes.items()}
    for outcome in outcomes.values():
        assert outcome.merged == trained
        assert outcome.lost == 0
    assert all(count >= ROUNDS * STEPS * BATCH[name] for name, count in trained.items())


def refused(outcomes):
    return sum((outcome.refused for outcome in outcomes.values()), start=type(next(iter(outcomes.values())).refused)())


class UntilAhead:
    """Breaks links when the first site has begun turn 2, and mends them when each site has gone `AHEAD` steps on alone."""

    def __init__(self, count, break_, mend):
        self._break, self._mend = break_, mend
        self._lock = threading.Lock()
        self._waited = {}
        self._count = count
        self.broken = self.mended = False

    def begun(self, site, turn):
        with self._lock:
            if turn == 2 and not self.broken:
                self.broken = True
                self._break()

    def waiting(self, site, turn):
        with self._lock:
            self._waited[site.name] = self._waited.get(site.name, 0) + 1
            is_enough = len(self._waited) == self._count and min(self._waited.values()) >= AHEAD
            if self.broken and is_enough and not self.mended:
                self.mended = True
                self._mend()


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_cut_for_less_than_the_deadline(stage, names, fragments):
    scene = stage(names, deadline_s=LONG_S, fragments=fragments)

    def blink(site, turn):
        if turn == 2 and site.name == "aws-1":
            for link in scene.links_of("os-1"):
                link.cut()
            threading.Timer(0.2, lambda: [link.restore() for link in scene.links_of("os-1")]).start()

    outcomes = run(scene.sites(begun=blink))
    assert_nothing_is_lost(outcomes)
    assert {name: outcome.trained for name, outcome in outcomes.items()} == {
        name: ROUNDS * STEPS * BATCH[name] for name in names
    }


@pytest.mark.parametrize("kind", ["cut", "swallow"])
@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_cut_for_more_than_the_deadline(stage, names, kind):
    scene = stage(names)
    broken = scene.links_of("os-1")
    fault = UntilAhead(
        len(names), lambda: [getattr(link, kind)() for link in broken], lambda: [link.restore() for link in broken]
    )
    outcomes = run(scene.sites(begun=fault.begun, waiting=fault.waiting))
    assert fault.mended
    assert_nothing_is_lost(outcomes)


@pytest.mark.parametrize("fragments", [1, 2])
def test_a_cut_in_the_middle_of_a_frame(stage, fragments):
    scene = stage(TWO, size=1_000_000, deadline_s=LONG_S, rounds=ROUNDS, fragments=fragments)
    link = scene.links["aws-1", "os-1"]
    link.cut_after(1_300_000 // fragments)
    outcomes = run(scene.sites())
    assert link.connections == 2
    assert_nothing_is_lost(outcomes)


@pytest.mark.parametrize("is_back", [False, True], ids=["towards", "back"])
@pytest.mark.parametrize("names", [TWO, THREE])
def test_loss_in_one_direction(stage, names, is_back):
    scene = stage(names)
    link = scene.links["aws-1", "os-1"]
    steps = []

    def lose(site, turn):
        if turn == 2 and site.name == "aws-1":
            link.lose(is_back=is_back)

    def mend(site, turn):
        steps.append(site.name)
        if steps.count("aws-1") == AHEAD:
            link.restore()

    outcomes = run(scene.sites(begun=lose, waiting=mend))
    assert steps.count("aws-1") >= AHEAD
    assert_nothing_is_lost(outcomes)


def test_a_frame_that_is_delayed_beyond_the_deadline(stage):
    scene = stage(TWO)
    link = scene.links["aws-1", "os-1"]

    def slow(site, turn):
        if site.name == "os-1" and turn == 1:
            link.delay(HANG_S)

    def arrive(site, turn):
        waited[site.name, turn] += 1
        if waited["aws-1", turn] > STEPS:  # in one turn more than the next round needs
            link.delay(0)

    waited = Counter()
    outcomes = run(scene.sites(arrived=slow, waiting=arrive))
    assert outcomes["aws-1"].trained > ROUNDS * STEPS * BATCH["aws-1"]
    assert_nothing_is_lost(outcomes)


def edited(answer, **changes):
    return [json.dumps({**json.loads(answer[0]), **changes}).encode(), *answer[1:]]


def asked(request, **changes):
    return json.dumps({**json.loads(request), **changes}).encode()


def again(request, answer, fetch):
    """The frame of the turn before, in place of the one that was asked for."""
    turn = json.loads(request)["turn"]
    return answer if turn == 1 else fetch(asked(request, turn=turn - 1))


def ahead(request, answer, fetch):
    """The frame of the turn after it, first."""
    return fetch(asked(request, turn=json.loads(request)["turn"] + 1)) or answer


TAMPERED = {
    "duplicated": (again, "stale-round", 1),
    "reordered": (ahead, "wrong-fragment", 2),
    "torn": (lambda request, answer, fetch: [*answer[:-1], answer[-1][:-1]], "torn", 1),
    "torn-off": (lambda request, answer, fetch: answer[:1], "torn", 1),
    "too-long": (lambda request, answer, fetch: [*answer, b"more"], "oversized", 1),
    "changed": (lambda request, answer, fetch: [answer[0], bytes(len(answer[1]))], "bad-checksum", 1),
    "of-another-run": (lambda request, answer, fetch: edited(answer, run_id="other-run"), "foreign-run", 1),
    "of-another-site": (lambda request, answer, fetch: edited(answer, site="os-9"), "wrong-site", 1),
    "of-another-part": (lambda request, answer, fetch: edited(answer, shard=1), "wrong-shard", 1),
    "of-another-form": (lambda request, answer, fetch: edited(answer, bits=4), "wrong-bits", 1),
    "no-frame": (lambda request, answer, fetch: [b"not a frame"], "malformed", 1),
}


@pytest.mark.parametrize("names", [TWO, THREE])
@pytest.mark.parametrize("kind", TAMPERED)
def test_a_frame_that_is_not_what_was_sent(stage, names, kind):
    change, reason, fragments = TAMPERED[kind]
    scene = stage(names, fragments=fragments, deadline_s=LONG_S)
    fault = Once(change)
    scene.through("aws-1", "os-1", fault)
    outcomes = run(scene.sites())
    assert fault.happened
    assert outcomes["aws-1"].refused == {reason: 1}
    assert refused(outcomes).total() == 1
    assert_nothing_is_lost(outcomes)


KILLED = {"before": "begun", "during": "arrived", "after": "committed"}


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "unheard"])
@pytest.mark.parametrize("when", KILLED)
@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_peer_that_is_killed_around_its_commit(stage, names, when, is_heard):
    scene = stage(names)
    killed = scene.site("os-1", **{KILLED[when]: kill_at(3, is_heard=is_heard)})

    def die_and_return():
        assert until_killed(killed) is None
        return scene.site("os-1", disk=killed.disk).run()

    others = [scene.site(name) for name in names if name != "os-1"]
    returned, *stayed = together(die_and_return, *[site.run for site in others])
    assert_nothing_is_lost({"os-1": returned} | dict(zip([site.name for site in others], stayed, strict=True)))


def test_all_sites_killed_at_once(stage):
    scene = stage(THREE)
    killed = [scene.site(name, arrived=kill_at(turn)) for name, turn in zip(THREE, (3, 3, 3), strict=True)]
    assert together(*[lambda site=site: until_killed(site) for site in killed]) == [None] * 3
    assert_nothing_is_lost(run([scene.site(site.name, disk=site.disk) for site in killed]))


@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_clock_that_jumps(stage, names, monkeypatch):
    monkeypatch.setattr(time, "time", Skew(time.time))
    scene = stage(names, spec=MembershipSpec(on_loss="remove", patience_s=HANG_S, survivor="aws-1"))
    broken = scene.links_of("os-1")
    fault = UntilAhead(len(names), lambda: [link.cut() for link in broken], lambda: [link.restore() for link in broken])
    outcomes = run(scene.sites(begun=fault.begun, waiting=fault.waiting))
    assert fault.mended
    assert_nothing_is_lost(outcomes)
    assert {tuple(outcome.cohorts) for outcome in outcomes.values()} == {(names,)}
