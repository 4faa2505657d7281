"""The loop of a site with everything around it played: what it does when, and what it makes of losing the others."""

from types import SimpleNamespace

import pytest
import torch

from tests.kit.worlds import TWO_SITES, make_plan, small_recipe
from workloads.spec.errors import UserError
from workloads.trainer.checkpoints import Begun, Journal, Progress, TurnLog
from workloads.trainer.checkpoints.journal import Event
from workloads.trainer.cohort import SiteCohort
from workloads.trainer.loop import Site, SiteLoop
from workloads.trainer.rounds import LinkUse
from workloads.trainer.world import World

BATCH, STEPS = 12, 4
RECIPE = small_recipe("iris", {"train.epochs": 1, "train.outer.overlap_steps": 2})  # 3 rounds


class Rounds:
    """Turns whose frames are there, but for those in `late`: these, only when they were looked for so often."""

    def __init__(self, late):
        self.begun = self.committed = 0
        self.events = []
        self._late = dict(late)

    @property
    def pending(self):
        return self.begun > self.committed

    @property
    def can_begin(self):
        return not self.pending

    def begin(self, trained, keep):
        self.begun += 1
        self.events.append(("begin", self.begun, trained // BATCH))

    def arrived(self, timeout_s):
        turn = self.committed + 1
        self._late[turn] = self._late.get(turn, 0) - 1
        return self._late[turn] < 0

    def commit(self):
        self.committed += 1
        self.events.append(("commit", self.committed))

    def go_on(self, begun, committed):
        self.begun, self.committed = begun, committed

    def take_over(self):
        self.events.append(("take over", self.committed))

    def take_use(self):
        return LinkUse()

    def is_finite(self):
        return True


class Cohort:
    """Others who have removed this site after so many steps, and heal it to a round or, if None, end the run without it."""

    def __init__(self, made, out_after, healed_to):
        self._made, self._out_after, self._healed_to = made, out_after, healed_to
        self.healed = []

    def tend(self):
        return len(self._made) == self._out_after and not self.healed

    def heal(self, **facts):
        self.healed.append(facts)
        return self._healed_to


class Run:
    """One run of the loop, and what came of it."""

    def __init__(self, progress=None, *, log=(), late=(), out_after=None, healed_to=None, must_heal=False):
        self.notes, self.made, self.saved = [], [], []
        progress = progress or Progress()
        self.rounds = Rounds(late)
        self.cohort = Cohort(self.made, out_after, healed_to)
        self.journal = Journal(TurnLog(training="b" * 64, events=tuple(Event(*event) for event in log)), depth=9)
        self.rounds.go_on(progress.round + len(progress.pending), progress.round)
        self.journal.resume(self.rounds.begun, self.rounds.committed)
        site = Site(
            name="os-1",
            launch=SimpleNamespace(
                plan=make_plan(RECIPE), recipe=RECIPE, run_id="test-run", shared=None, round_deadline_s=0.0, sites=[SimpleNamespace(name=name) for name in TWO_SITES]
            ),
            parallel=SimpleNamespace(train_step=lambda batch: torch.tensor(1.0)),
            optimizer=SimpleNamespace(param_groups=[], step=lambda: None),
            data=SimpleNamespace(batch=lambda round_number, trained, size: None),
            rounds=self.rounds,
            cohort=self.cohort,
            teller=SimpleNamespace(
                agree=bool,
                note=self.notes.append,
                step=lambda **event: self.made.append(event["step"]),
                round_started=lambda number: None,
                round_committed=lambda number, use, seconds: None,
            ),
            journal=self.journal,
            save=self.saved.append,
        )  # fmt: skip
        self.end = SiteLoop(site, progress).run(must_heal=must_heal)


def test_a_round_is_merged_when_its_frames_had_time_to_travel_and_what_it_was_begun_with_is_merged_then():
    run = Run()
    assert run.rounds.events == [
        event for turn in (1, 2, 3) for event in (("begin", turn, STEPS * turn), ("commit", turn))
    ]
    assert [(saved.round, saved.step) for saved in run.saved] == [(1, STEPS + 2), (2, 2 * STEPS + 2), (3, 3 * STEPS)]
    assert [saved.merged_samples for saved in run.saved] == [BATCH * STEPS * turn for turn in (1, 2, 3)]


def test_a_site_that_is_healed_loses_what_it_trained_on_since_it_began_its_newest_merged_turn():
    """Turn 1 was begun after 4 steps and merged after 6; the others have gone on without it when it has made 7."""
    run = Run(out_after=7, healed_to=2)
    (facts,) = run.cohort.healed
    assert (facts["trained"], facts["merged"]) == (7 * BATCH, STEPS * BATCH)
    assert run.end.lost_samples == (7 - STEPS) * BATCH
    assert run.end.samples - run.end.lost_samples == (STEPS + STEPS) * BATCH  # in turns 1 and 3
    assert run.end.merged_samples == run.end.samples


def test_a_site_that_is_healed_twice_loses_nothing_twice():
    first = Run(out_after=7, healed_to=1).end
    again = Run(Progress(round=2, step=12, samples=12 * BATCH, merged_samples=12 * BATCH), must_heal=True, healed_to=2)
    assert first.lost_samples == 3 * BATCH
    assert again.end.lost_samples == 0


@pytest.mark.parametrize("must_heal", [False, True])
def test_a_site_that_the_others_end_the_run_without_says_so_and_ends(must_heal):
    run = Run(out_after=None if must_heal else 7, healed_to=None, must_heal=must_heal)
    assert run.end is None
    assert run.notes == ["the others have ended the run without this site; nothing is left to do"]
    assert len(run.made) == (0 if must_heal else 7)
    assert "take over" not in {event[0] for event in run.rounds.events}


@pytest.mark.parametrize("is_over", [False, True])
def test_a_site_that_waits_to_be_let_in_looks_whether_the_run_is_over(is_over):
    said = []
    tries = iter([UserError("not yet"), None])

    def ask_in(timeout_s):
        if (answer := next(tries)) is not None:
            raise answer

    cohort = SiteCohort(World(0, 1, torch.device("cpu")), None, ("aws-1",))
    membership = SimpleNamespace(ask_in=ask_in, views=(), is_open=False)
    type(cohort).membership, kept = property(lambda self: membership), type(cohort).membership
    try:
        number = cohort.heal(trained=7, merged=4, say=said.append, is_over=lambda: is_over)
    finally:
        type(cohort).membership = kept
    assert said == ["the others went on without this site; it heals from them"]
    assert (number is None) == is_over
    assert next(tries, "let in") == (None if is_over else "let in")


# Of a life in which turn 1, due after 6 steps, came after 9; turn 2 was begun then, and turn 3 is on its way.
LATE = [("begin", 4), ("commit", 9), ("begin", 9), ("commit", 11), ("begin", 13)]


def test_a_site_that_was_killed_does_again_what_it_did_at_the_same_steps():
    run = Run(log=LATE)
    assert run.rounds.events == [
        ("begin", 1, 4),
        ("commit", 1),
        ("begin", 2, 9),
        ("commit", 2),
        ("begin", 3, 13),
        ("commit", 3),
    ]
    assert [(saved.round, saved.step, saved.delay) for saved in run.saved] == [(1, 9, 0), (2, 11, 1), (3, 13, 1)]


def test_a_site_goes_on_with_what_it_did_after_the_state_that_it_has():
    pending = (Begun(step=9, samples=9 * BATCH),)
    state = Progress(round=1, step=10, samples=10 * BATCH, delay=1, pending=pending, merged_samples=4 * BATCH)
    run = Run(state, log=LATE)
    assert run.rounds.events == [("commit", 2), ("begin", 3, 13), ("commit", 3)]


def test_what_is_repeated_is_waited_for_however_long_it_takes():
    """Past the deadline too, which is none at all here."""
    run = Run(log=LATE, late={1: 3})
    assert run.rounds.events[:3] == [("begin", 1, 4), ("commit", 1), ("begin", 2, 9)]
    assert run.saved[0].step == 9
    assert run.notes == ["round 1: waiting for frames that were here before this site stopped"]


def test_a_site_that_cannot_repeat_what_it_did_heals():
    """The others have removed it meanwhile: they wait for it no more, nor it for them."""
    run = Run(log=LATE, late={1: 3}, out_after=9, healed_to=2)
    assert run.rounds.events == [("begin", 1, 4), ("take over", 2), ("begin", 3, 13), ("commit", 3)]
    assert run.journal.next is None
    assert run.end.round == 3
