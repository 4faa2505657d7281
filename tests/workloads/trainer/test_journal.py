"""The log of turns: what a site did before it was killed is done again, at the same steps and in the same order."""

import pytest

from workloads.trainer.checkpoints import CheckpointStore, Identity, Journal, Place, TurnLog
from workloads.trainer.checkpoints.journal import Event

TRAINING = "b" * 64
EVENTS = (
    ("begin", 2),
    ("begin", 4),
    ("commit", 5),  # turn 1
    ("commit", 9),  # turn 2, late
    ("begin", 9),
    ("begin", 9),
    ("commit", 10),
)


def log_of(events=EVENTS, **changes):
    return TurnLog(training=TRAINING, events=tuple(Event(*event) for event in events), **changes)


def follow(journal):
    """Do all that is to be done again; the events of that."""
    events = []
    while (event := journal.next) is not None:
        journal.note(*event)
        events.append(tuple(event))
    return tuple(events)


@pytest.fixture
def store(tmp_path):
    identity = Identity(model="iris", model_digest="a" * 64, training=TRAINING)
    return CheckpointStore(Place(str(tmp_path), tmp_path), keep=2, identity=identity)


def test_a_site_that_never_ran_has_nothing_to_repeat():
    journal = Journal(TurnLog(training=TRAINING), depth=9)
    journal.resume(0, 0)
    assert journal.next is None


@pytest.mark.parametrize(("begun", "committed", "place"), [(0, 0, 0), (2, 1, 3), (2, 2, 4), (4, 3, 7)])
def test_it_goes_on_after_the_state_that_training_resumes_from(begun, committed, place):
    journal = Journal(log_of(), depth=9)
    journal.resume(begun, committed)
    assert follow(journal) == EVENTS[place:]


@pytest.mark.parametrize(("begun", "committed"), [(1, 1), (4, 0), (7, 4)])
def test_a_state_that_the_log_does_not_lead_to_begins_a_new_one(begun, committed):
    journal = Journal(log_of(begun=1), depth=9)
    journal.resume(begun, committed)
    assert journal.next is None
    kept = []
    again = Journal(log_of(begun=1), depth=9, write=kept.append)
    again.resume(begun, committed)
    again.note("begin", 30)
    again.keeper()()
    assert kept == [log_of([("begin", 30)], begun=begun, committed=committed, restarts=1)]
    assert kept[0].newness > log_of(begun=1).newness


def test_what_is_durable_before_a_turn_is_sent_is_all_that_was_done_up_to_its_beginning():
    kept = []
    journal = Journal(TurnLog(training=TRAINING), depth=9, write=kept.append)
    keepers = []
    for kind, step in EVENTS:
        journal.note(kind, step)
        if kind == "begin":
            keepers.append(journal.keeper())
    for keep in keepers:
        keep()
    assert [len(log.events) for log in kept] == [1, 2, 5, 6]
    assert kept[-1] == log_of(EVENTS[:6])


def test_a_log_that_is_being_followed_is_not_shortened():
    kept = []
    journal = Journal(log_of(), depth=9, write=kept.append)
    journal.resume(0, 0)
    journal.note("begin", 2)
    journal.keeper()()
    assert kept == [log_of()]


def test_what_is_done_otherwise_ends_what_is_to_be_repeated():
    kept = []
    journal = Journal(log_of(), depth=9, write=kept.append)
    journal.resume(2, 1)
    journal.note("commit", 7)
    journal.keeper()()
    assert journal.next is None
    assert kept == [log_of([*EVENTS[:3], ("commit", 7)])]


def test_events_before_the_oldest_state_are_let_go_of():
    kept = []
    journal = Journal(TurnLog(training=TRAINING), depth=3, write=kept.append)
    for turn in range(1, 11):
        journal.note("begin", 4 * turn)
        journal.keeper()()
        journal.note("commit", 4 * turn + 1)
    newest = kept[-1]
    assert (newest.begun, newest.committed) == (6, 6)
    assert [tuple(event) for event in newest.events[:3]] == [("begin", 28), ("commit", 29), ("begin", 32)]
    resumed = Journal(newest, depth=3)
    resumed.resume(8, 8)
    assert follow(resumed) == (("begin", 36), ("commit", 37), ("begin", 40))


def test_a_log_that_cannot_be_kept_is_told_of_once_and_ends_nothing():
    def write(log):
        raise OSError(28, "No space left on device")

    journal = Journal(TurnLog(training=TRAINING), depth=9, write=write)
    journal.note("begin", 1)
    journal.keeper()()
    assert "No space left" in journal.take_fault()
    assert journal.take_fault() is None


def test_a_rank_that_owns_no_part_keeps_no_log():
    assert Journal(TurnLog(training=TRAINING), depth=9).keeper() is None


def test_of_the_logs_of_all_parts_the_newest_is_followed(store):
    assert store.kept_log() == TurnLog(training=TRAINING)
    store.keep_log(0, log_of(EVENTS[:2]))
    store.keep_log(1, log_of(EVENTS[:6]))
    assert store.kept_log() == log_of(EVENTS[:6])
    store.keep_log(0, log_of([("begin", 50)], restarts=1, begun=8, committed=8))
    assert store.kept_log().restarts == 1


def test_a_log_of_another_training_or_one_that_is_torn_is_not_followed(store, tmp_path):
    store.keep_log(0, log_of().model_copy(update={"training": "c" * 64}))
    (tmp_path / "turns-00001.json").write_text('{"training": ')
    assert store.kept_log() == TurnLog(training=TRAINING)


def test_a_log_lies_beside_states_and_is_none(store, tmp_path):
    store.keep_log(0, log_of())
    assert store.usable_rounds(pytest.fail) == []
    assert [path.name for path in tmp_path.iterdir()] == ["turns-00000.json"]


def test_logs_are_kept_at_an_address_as_well(tmp_path):
    identity = Identity(model="iris", model_digest="a" * 64, training=TRAINING)
    store = CheckpointStore(Place("memory://logs", tmp_path), keep=2, identity=identity)
    store.keep_log(0, log_of())
    assert store.kept_log() == log_of()
