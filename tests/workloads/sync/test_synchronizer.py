"""The calls of a turn: their order, what they report, and what they refuse."""

import pytest
import torch

from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of
from tests.workloads.sync.turns import (
    SAMPLES,
    SIZE,
    THREE,
    TWO,
    finish,
    learn,
    make_synchronizer,
    together_by_site,
)
from workloads.spec.errors import UserError


@pytest.fixture
def alone():
    return make_synchronizer(make_exchange("aws-1", ports_of("aws-1")), {"aws-1": 0}, torch.zeros(4))


def test_samples_and_bytes_of_a_round_are_reported_exactly():
    ports = ports_of(*THREE)

    def run(site):
        with make_exchange(site, ports, fragments=2) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(SIZE), bits=4)
            local, reports = torch.ones(SIZE), []
            for _ in range(2):
                rounds.begin(local[rounds.next_fragment], SAMPLES[site])
                reports.append(finish(rounds, local))
            assert exchange.drain(HANG_S)
            return reports, exchange.payload_bytes_sent, exchange.payload_bytes_received

    payloads = [512 // 2 + 2 * 2, (488 + 1) // 2 + 2 * 2]
    for reports, sent, received in together_by_site(run, THREE).values():
        assert [(report.turn, report.round, report.fragment) for report in reports] == [(1, 1, 0), (2, 1, 1)]
        assert [report.samples for report in reports] == [SAMPLES, SAMPLES]
        assert [report.bytes_sent for report in reports] == [2 * payload for payload in payloads]
        assert [report.bytes_received for report in reports] == [2 * payload for payload in payloads]
        assert sent == received == 2 * sum(payloads)
        assert all(report.wait_s >= 0 for report in reports)


def test_a_turn_has_not_arrived_before_all_of_its_merge_is_done(alone, monkeypatch):
    """The digest of a large fragment takes a while, in which the training thread may ask."""
    digest, seen = alone._state.digest, []

    def observed(fragment):
        seen.append((alone._state.merged, len(alone._merger.reports)))
        return digest(fragment)

    monkeypatch.setattr(alone._state, "digest", observed)
    alone.begin(torch.ones(4), 1)
    assert alone.arrived(None)
    assert seen == [(0, 0)]
    assert alone.commit().turn == 1


def test_the_calls_of_a_turn_have_one_order(alone):
    with pytest.raises(RuntimeError, match="no turn is pending"):
        alone.arrived(0)
    with pytest.raises(RuntimeError, match="turn 1 has not arrived"):
        alone.commit()
    with pytest.raises(RuntimeError, match="no turn was just committed"):
        alone.merge(torch.ones(4))
    alone.begin(torch.ones(4), 1)
    assert alone.pending
    assert not alone.can_begin
    with pytest.raises(RuntimeError, match="turn 1 is pending; commit it before turn 2"):
        alone.begin(torch.ones(4), 2)
    with pytest.raises(RuntimeError, match="no turn was just committed"):
        alone.merge(torch.ones(4))
    finish(alone, torch.ones(4))
    assert (alone.begun, alone.committed, alone.round, alone.pending) == (1, 1, 1, False)
    alone.begin(torch.ones(4), 2)
    with pytest.raises(RuntimeError, match="no turn was just committed"):
        alone.merge(torch.ones(4))


def test_a_plan_ends():
    rounds = make_synchronizer(make_exchange("aws-1", ports_of("aws-1")), {"aws-1": 0}, torch.zeros(4), rounds=1)
    learn(rounds, torch.zeros(4), 1, 1)
    with pytest.raises(ValueError, match="round 2 is not planned; the plan has 1 rounds"):
        rounds.begin(torch.zeros(4), 2)


@pytest.mark.parametrize("trained", [3, 2])
def test_a_site_that_has_not_trained_since_its_last_turn_has_nothing_to_offer(alone, trained):
    learn(alone, torch.zeros(4), 1, 3)
    with pytest.raises(ValueError, match=f"turn 2: {trained} samples trained, 3 of them offered before"):
        alone.begin(torch.ones(4), trained)


@pytest.mark.parametrize("local", [torch.zeros(5), torch.zeros(4, dtype=torch.float64), torch.zeros(2, 2), [0.0] * 4])
def test_parameters_that_do_not_fit_are_refused(alone, local):
    with pytest.raises(ValueError, match=r"they must be torch.float32 \[4\]"):
        alone.begin(local, 1)


def test_the_caller_s_buffer_is_free_when_begin_returns(alone):
    local = torch.ones(4)
    alone.begin(local, 1)
    local.fill_(7.0)
    finish(alone, local)
    assert torch.equal(alone.outer_tensors()["parameters"], torch.ones(4))


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_a_site_that_diverges_says_so_before_it_spoils_the_others(bits):
    exchange = make_exchange("aws-1", ports_of(*TWO))
    rounds = make_synchronizer(exchange, TWO, torch.zeros(4), bits=bits)
    rounds.begin(torch.tensor([1.0, float("nan"), 0.0, 0.0]), 1)
    for call in (lambda: rounds.arrived(None), rounds.state_dict, rounds.outer_tensors, lambda: rounds.arrived(0)):
        with pytest.raises(UserError, match=r"site aws-1, round 1: .* not finite; lower the inner learning rate"):
            call()
    assert exchange.retained() == ()


def test_a_frame_that_the_exchange_cannot_carry_is_told_at_the_next_call():
    rounds = make_synchronizer(make_exchange("aws-1", ports_of(*TWO), max_frame_bytes=5), TWO, torch.zeros(4))
    rounds.begin(torch.ones(4), 1)
    with pytest.raises(UserError, match="a frame of 6 bytes is over the limit of 5"):
        rounds.arrived(None)


@pytest.mark.parametrize("sites", [("aws-1",), ("aws-1", "os-2"), ("aws-1", "os-1", "os-2"), ("aws-1", "os-1", "os-1")])
def test_the_cohort_is_the_site_and_the_peers_of_its_exchange(sites):
    exchange = make_exchange("aws-1", ports_of(*TWO))
    with pytest.raises(ValueError, match=r"they must be aws-1 and its peers \['os-1'\]"):
        make_synchronizer(exchange, sites, torch.zeros(4))


def test_more_fragments_than_the_part_has_blocks_are_refused():
    exchange = make_exchange("aws-1", ports_of("aws-1"), fragments=2)
    with pytest.raises(UserError, match="too few for 2 fragments"):
        make_synchronizer(exchange, ("aws-1",), torch.zeros(256))


@pytest.mark.parametrize(
    ("sites", "bits", "momentum", "names"),
    [
        (("aws-1",), 2, 0.0, {"parameters"}),
        (TWO, 32, 0.0, {"parameters"}),
        (TWO, 4, 0.0, {"parameters", "residual"}),
        (TWO, 4, 0.6, {"parameters", "momentum", "residual"}),
    ],
)
def test_memory_is_kept_only_for_what_the_plan_needs(sites, bits, momentum, names):
    exchange = make_exchange("aws-1", ports_of(*sites))
    rounds = make_synchronizer(exchange, sites, torch.zeros(4), bits=bits, momentum=momentum)
    assert rounds.outer_tensors().keys() == names
    assert all(tensor.shape == (4,) for tensor in rounds.outer_tensors().values())
