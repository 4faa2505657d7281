"""A site that is killed at any moment goes on from its state as if it had never been killed."""

import threading

import pytest
import torch

from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of
from tests.workloads.sync.turns import (
    SAMPLES,
    SEEDS,
    SIZE,
    TWO,
    Training,
    copy_of,
    due_steps,
    finish,
    learn,
    make_synchronizer,
    together_by_site,
)
from workloads.sync import Exchange

# steps of a round, rounds, fragments, overlap: with two turns pending at times in the last
SCHEDULES = {"whole": (4, 2, 1, 2), "fragments": (6, 2, 3, 1), "far-ahead": (6, 2, 3, 4)}
PLAN = {"lr": 0.7, "momentum": 0.6, "bits": 4}


def open_training(exchange, schedule, *, local=None, step=0):
    steps, rounds, fragments, overlap = SCHEDULES[schedule]
    initial = torch.zeros(SIZE)
    return Training(
        make_synchronizer(exchange, TWO, initial, **PLAN),
        initial if local is None else local,
        seed=SEEDS[exchange.site],
        batch=SAMPLES[exchange.site],
        due=due_steps(steps, rounds, fragments),
        overlap=overlap,
        step=step,
    )


def last_step(schedule):
    steps, rounds, _, _ = SCHEDULES[schedule]
    return steps * rounds


def fragments_of(schedule):
    return SCHEDULES[schedule][2]


@pytest.fixture(scope="module")
def uninterrupted():
    """Each site's last parameters and digest, by schedule."""

    def run(schedule):
        ports = ports_of(*TWO)

        def run_site(site):
            with make_exchange(site, ports, fragments=fragments_of(schedule)) as exchange:
                training = open_training(exchange, schedule)
                training.run(last_step(schedule))
                assert exchange.drain(HANG_S)
                return training.local, training.rounds.digest()

        return together_by_site(run_site)

    return {schedule: run(schedule) for schedule in SCHEDULES}


@pytest.mark.parametrize(
    ("schedule", "killed_at"),
    [(schedule, step) for schedule in SCHEDULES for step in range(1, last_step(schedule) + 1)],
)
def test_sites_that_are_killed_after_any_step_go_on_bit_identically(uninterrupted, schedule, killed_at):
    ports = ports_of(*TWO)
    at_once = threading.Barrier(len(TWO), timeout=HANG_S)

    def run(site):
        with make_exchange(site, ports, fragments=fragments_of(schedule)) as exchange:
            killed = open_training(exchange, schedule)
            killed.run(killed_at)
            at_once.wait()  # each has needed the other up to here
            state, local = copy_of(killed.rounds.state_dict()), killed.local
            saved = killed.rounds.round
            killed.rounds.close()
        with make_exchange(site, ports, fragments=fragments_of(schedule)) as exchange:
            assert exchange.rendezvous([saved], HANG_S) == saved
            training = open_training(exchange, schedule, local=local, step=killed_at)
            training.rounds.load_state_dict(state)
            training.run(last_step(schedule))
            assert exchange.drain(HANG_S)
            return training.local, training.rounds.digest()

    for site, (local, digest) in together_by_site(run).items():
        assert torch.equal(local, uninterrupted[schedule][site][0])
        assert digest == uninterrupted[schedule][site][1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("lost_steps", [0, 1, 3])
def test_a_site_that_was_killed_catches_up_with_one_that_lives_on(uninterrupted, schedule, lost_steps):
    """aws-1 dies some steps after its last checkpoint; os-1 trains on as far as it can, and keeps what aws-1 needs."""
    ports = ports_of(*TWO)
    saved_at = last_step(schedule) // 2

    def live(exchange):
        training = open_training(exchange, schedule)
        training.run(last_step(schedule))
        assert exchange.drain(HANG_S)
        return training.local, training.rounds.digest()

    def die_and_return():
        with make_exchange("aws-1", ports, fragments=fragments_of(schedule)) as exchange:
            killed = open_training(exchange, schedule)
            killed.run(saved_at)
            state, local, saved = copy_of(killed.rounds.state_dict()), killed.local.clone(), killed.rounds.round
            killed.run(saved_at + lost_steps)
            killed.rounds.close()
        with make_exchange("aws-1", ports, fragments=fragments_of(schedule)) as exchange:
            assert exchange.rendezvous([saved], HANG_S) == saved
            training = open_training(exchange, schedule, local=local, step=saved_at)
            training.rounds.load_state_dict(state)
            training.run(last_step(schedule))
            assert exchange.drain(HANG_S)
            return training.local, training.rounds.digest()

    def run(site):
        if site == "aws-1":
            return die_and_return()
        with make_exchange(site, ports, fragments=fragments_of(schedule)) as exchange:
            return live(exchange)

    for site, (local, digest) in together_by_site(run).items():
        assert torch.equal(local, uninterrupted[schedule][site][0])
        assert digest == uninterrupted[schedule][site][1]


def test_a_turn_that_is_merged_ahead_of_its_commit_is_neither_in_the_digest_nor_lost_from_the_state():
    ports = ports_of(*TWO)

    def run(site):
        with make_exchange(site, ports, fragments=2) as exchange:
            rounds = make_synchronizer(exchange, TWO, torch.zeros(SIZE), **PLAN)
            before = rounds.digest()
            local = torch.full((SIZE,), float(SAMPLES[site]))
            for _ in range(2):
                rounds.begin(local[rounds.next_fragment], 1)
            assert rounds.arrived(HANG_S)
            rounds._merger._worker.wait_for(lambda: rounds._state.merged == 2, HANG_S)
            assert rounds.digest() == before
            state = copy_of(rounds.state_dict())
            finish(rounds, local)
            after_one = rounds.digest()
            finish(rounds, local)
            assert exchange.drain(HANG_S)
        with make_exchange(site, ports, fragments=2) as exchange:
            resumed = make_synchronizer(exchange, TWO, torch.zeros(SIZE), **PLAN)
            resumed.load_state_dict(state)
            again = torch.full((SIZE,), float(SAMPLES[site]))
            assert resumed.digest() == before
            reports = [finish(resumed, again)]
            assert resumed.digest() == after_one
            reports.append(finish(resumed, again))
            assert torch.equal(again, local)
            assert [report.samples for report in reports] == [{"aws-1": 1, "os-1": 1}] * 2
            return before, after_one, resumed.digest()

    results = together_by_site(run)
    assert results["aws-1"] == results["os-1"]


def test_a_state_stands_still_until_the_training_thread_goes_on():
    ports = ports_of(*TWO)
    with make_exchange("aws-1", ports) as at_aws, make_exchange("os-1", ports) as at_os:
        ours, theirs = (make_synchronizer(exchange, TWO, torch.zeros(SIZE), **PLAN) for exchange in (at_aws, at_os))
        ours.begin(torch.ones(SIZE), 1)
        state = ours.state_dict()
        before = copy_of(state)
        theirs.begin(torch.ones(SIZE), 1)
        assert theirs.arrived(HANG_S)
        assert at_aws.collect(1, HANG_S) is not None  # all is there that a merge needs
        with ours._merger._worker.changed:
            ours._merger._worker.changed.wait(0.1)  # five looks
        assert all(torch.equal(state[name], before[name]) for name in before)
        assert ours.arrived(HANG_S)
        assert not torch.equal(state["parameters"], before["parameters"])


def test_another_layout_goes_on_from_the_outer_tensors_alone():
    """What another layout saved by parameter's name has no histories and no frames that would fit."""
    ports = ports_of(*TWO)

    def run(site):
        with make_exchange(site, ports) as exchange:
            whole = make_synchronizer(exchange, TWO, torch.zeros(SIZE), **PLAN)
            saved = learn(whole, torch.zeros(SIZE), SEEDS[site], SAMPLES[site])
            tensors = copy_of(whole.outer_tensors())
            local = learn(whole, saved, SEEDS[site] + 1, 3 * SAMPLES[site])
            assert exchange.drain(HANG_S)
        with make_exchange(site, ports, fragments=2) as exchange:
            cut = make_synchronizer(exchange, TWO, torch.zeros(SIZE), **PLAN)
            cut.load_outer(tensors, round_number=1, trained=SAMPLES[site])
            assert (cut.round, cut.begun) == (1, 2)
            again = learn(cut, saved, SEEDS[site] + 1, 3 * SAMPLES[site])
            assert exchange.drain(HANG_S)
            assert torch.equal(again, local)
            assert all(torch.equal(cut.outer_tensors()[name], tensor) for name, tensor in whole.outer_tensors().items())
            return cut.digest()

    results = together_by_site(run)
    assert results["aws-1"] == results["os-1"]


@pytest.fixture
def begun():
    exchange = make_exchange("aws-1", ports_of(*TWO), fragments=2)
    rounds = make_synchronizer(exchange, TWO, torch.zeros(SIZE), **PLAN)
    rounds.begin(torch.ones(512), 1)
    return rounds


@pytest.mark.parametrize(
    "missing",
    [
        "parameters",
        "momentum",
        "residual",
        "progress",
        "snapshot.1",
        "frame.1.payload",
        ("frame.1.payload", "frame.1.header"),
    ],
)
def test_a_state_without_one_of_its_parts_is_refused(begun, missing):
    state = begun.state_dict()
    for name in (missing,) if isinstance(missing, str) else missing:
        del state[name]
    with pytest.raises(ValueError, match="state has no"):
        begun.load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("parameters", torch.zeros(5)),
        ("momentum", torch.zeros(SIZE, dtype=torch.float64)),
        ("progress", torch.zeros(5, dtype=torch.uint8)),
        ("frame.1.payload", torch.zeros(5, dtype=torch.uint8)),
    ],
)
def test_a_state_with_a_part_that_does_not_fit_is_refused(begun, name, tensor):
    with pytest.raises(ValueError, match="state"):
        begun.load_state_dict({**begun.state_dict(), name: tensor})


def test_a_state_of_other_fragments_is_refused(begun):
    whole = make_synchronizer(make_exchange("aws-1", ports_of(*TWO)), TWO, torch.zeros(SIZE), **PLAN)
    with pytest.raises(ValueError, match="state is of 2 fragments, the plan has 1"):
        whole.load_state_dict(begun.state_dict())


def test_kept_frames_are_served_all_at_once(monkeypatch):
    """A peer that asked between two of them would take the site for one that has just begun."""
    ports = ports_of(*TWO)
    seen = []

    def run(site):
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, TWO, torch.zeros(4))
            local = torch.zeros(4)
            for seed in range(4):
                local = learn(rounds, local, seed, seed + 1)
            assert exchange.drain(HANG_S)
            return copy_of(rounds.state_dict()), rounds.digest()

    state, digest = together_by_site(run)["aws-1"]
    publish = Exchange.publish

    def watched(exchange, *frames):
        publish(exchange, *frames)
        seen.append([frame.header.round for frame in exchange.retained()])

    monkeypatch.setattr(Exchange, "publish", watched)
    resumed = make_synchronizer(make_exchange("aws-1", ports_of(*TWO)), TWO, torch.zeros(4))
    resumed.load_state_dict(state)
    assert seen == [[2, 3, 4]]
    assert resumed.digest() == digest


def test_a_site_without_peers_keeps_no_frames():
    ports = ports_of("aws-1")
    exchange = make_exchange("aws-1", ports)
    rounds = make_synchronizer(exchange, ports, torch.zeros(4))
    learn(rounds, torch.zeros(4), 1, 1)
    assert exchange.retained() == ()
    again = make_synchronizer(make_exchange("aws-1", ports), ports, torch.zeros(4))
    rounds.begin(torch.ones(4), 2)
    again.load_state_dict(rounds.state_dict())
    assert again.pending
