"""The rounds' exact properties, over real exchanges on loopback."""

import pytest
import torch
from torch import nn

from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of, together
from tests.workloads.sync.turns import (
    SAMPLES,
    SEEDS,
    SIZE,
    THREE,
    TWO,
    Training,
    due_steps,
    finish,
    learn,
    make_synchronizer,
    together_by_site,
)
from workloads.spec.errors import UserError
from workloads.sync import Exchange
from workloads.sync.quantise import dequantise


def run_rounds(sites, count, *, initial=None, fragments=1, **plan):
    """Each site learns at random for `count` rounds. Returns by site the digests after each, and the last parameters."""
    initial = torch.zeros(SIZE) if initial is None else initial
    ports = ports_of(*sites)

    def run(site):
        with make_exchange(site, ports, fragments=fragments) as exchange:
            rounds = make_synchronizer(exchange, ports, initial, **plan)
            local, digests = initial, []
            for number in range(count):
                local = learn(rounds, local, SEEDS[site] + number, SAMPLES[site] * (number + 1))
                digests.append(rounds.digest())
            assert exchange.drain(HANG_S)
            return digests, local

    return together_by_site(run, sites)


def train(sites, due, *, fragments=1, overlap=0, **plan):
    """Each site trains to the last of the steps `due`, learning at every step. Returns each site's `Training`."""
    initial = torch.zeros(SIZE)
    ports = ports_of(*sites)

    def run(site):
        with make_exchange(site, ports, fragments=fragments) as exchange:
            training = Training(
                make_synchronizer(exchange, ports, initial, **plan),
                initial,
                seed=SEEDS[site],
                batch=SAMPLES[site],
                due=due,
                overlap=overlap,
            )
            training.run(due[-1])
            assert exchange.drain(HANG_S)
            return training

    return together_by_site(run, sites)


@pytest.mark.parametrize("sites", [TWO, THREE])
def test_one_step_of_sgd_each_is_one_step_on_the_union_batch(sites):
    generator = torch.Generator().manual_seed(1)
    inputs = {site: torch.randn(SAMPLES[site], 4, generator=generator, dtype=torch.float64) for site in sites}
    weights = torch.randn(4, generator=generator, dtype=torch.float64)
    ports = ports_of(*sites)

    def sgd_step(weights, batch):
        weights = weights.clone().requires_grad_()
        (batch @ weights - 1).square().mean().backward()
        return (weights - 0.1 * weights.grad).detach()

    def run(site):
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, weights, lr=1.0, momentum=0.0, bits=32)
            local = weights
            for number in range(1, 5):
                local = sgd_step(local, inputs[site])
                rounds.begin(local, number * SAMPLES[site])
                finish(rounds, local)
            assert exchange.drain(HANG_S)
            return local

    merged = together_by_site(run, sites).values()
    union = weights
    for _ in range(4):
        union = sgd_step(union, torch.cat(list(inputs.values())))
    for local in merged:
        torch.testing.assert_close(local, union, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_a_site_alone_trains_as_if_there_were_no_rounds(bits, fragments):
    torch.manual_seed(0)
    batch, targets = torch.randn(64, 8), torch.randint(3, (64,))

    def train_model(merge):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step in range(12):
            loss = nn.functional.cross_entropy(model(batch), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            merge(step, model)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    rounds = []

    def merge(step, model):
        local = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        if not rounds:
            exchange = make_exchange("aws-1", ports_of("aws-1"), fragments=fragments)
            rounds.append(make_synchronizer(exchange, {"aws-1": 0}, local, bits=bits))
        if step % 3 == 1:
            for _ in range(fragments):
                rounds[0].begin(local[rounds[0].next_fragment], 10 * (step + 1))
        if step % 3 == 2:  # a step after the snapshot
            for _ in range(fragments):
                finish(rounds[0], local)
            nn.utils.vector_to_parameters(local, model.parameters())

    assert torch.equal(train_model(merge), train_model(lambda *_: None))
    assert rounds[0].round == 4


def test_one_site_with_outer_momentum_takes_the_outer_step():
    exchange = make_exchange("aws-1", ports_of("aws-1"))
    rounds = make_synchronizer(exchange, {"aws-1": 0}, torch.zeros(4), lr=0.5, momentum=0.5)
    local = torch.ones(4)
    rounds.begin(local, 1)
    finish(rounds, local)
    assert torch.equal(local, torch.full((4,), 0.75))  # 0.5 * (1 + 0.5)


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [[(0.7, 0.9)] * 5, [(1.0, 0.0), (1.0, 0.0), (0.7, 0.6), (0.5, 0.9), (0.8, 0.0)]],
    ids=["same", "changing"],
)
def test_rounds_are_nesterov_sgd_on_the_weighted_mean_with_each_round_s_settings(settings, fragments):
    """Against `torch.optim.SGD` on what the sites learnt, in float64."""
    learnt = {
        site: [
            torch.randn(SIZE, generator=torch.Generator().manual_seed(SEEDS[site] + n), dtype=torch.float64)
            for n in range(5)
        ]
        for site in TWO
    }
    weights = {site: SAMPLES[site] / (SAMPLES["aws-1"] + SAMPLES["os-1"]) for site in TWO}
    parameter = nn.Parameter(torch.zeros(SIZE, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    for number, (lr, momentum) in enumerate(settings):
        optimizer.param_groups[0].update(lr=lr, momentum=momentum, nesterov=momentum > 0)
        parameter.grad = -sum(weights[site] * learnt[site][number] for site in TWO)
        optimizer.step()

    results = run_rounds(
        TWO, 5, initial=torch.zeros(SIZE, dtype=torch.float64), bits=32, settings=settings, fragments=fragments
    )
    for _, local in results.values():
        torch.testing.assert_close(local, parameter.detach(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"lr": 0.7, "momentum": 0.9, "fragments": 3},
        {"lr": 0.7, "momentum": 0.6, "bits": 32},
        {"lr": 0.7, "momentum": 0.6, "bits": 2, "fragments": 4},
        {"bits": 4},
    ],
)
@pytest.mark.parametrize("sites", [TWO, THREE])
def test_the_outer_state_is_the_same_on_every_site_after_every_round(sites, plan):
    results = run_rounds(sites, 4, **plan)
    digests, parameters = zip(*results.values(), strict=True)
    assert all(other == digests[0] for other in digests)
    assert len(set(digests[0])) == 4
    assert all(torch.equal(other, parameters[0]) for other in parameters)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_error_feedback_loses_nothing(bits):
    """In multiples of 2^-20 all sums are exact in float64: what was sent and the residual equal what was true."""
    ports = ports_of(*TWO)
    true, sent = torch.zeros(SIZE, dtype=torch.float64), torch.zeros(SIZE, dtype=torch.float64)

    def run(site):
        generator = torch.Generator().manual_seed(SEEDS[site])
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(SIZE, dtype=torch.float64), bits=bits)
            shared = torch.zeros(SIZE, dtype=torch.float64)
            for number in range(6):
                step = torch.randint(-(1 << 20), 1 << 20, (SIZE,), generator=generator).double() / (1 << 20)
                local = shared + step
                if site == "aws-1":
                    true.sub_(local - shared)
                rounds.begin(local, number + 1)
                finish(rounds, local)
                if site == "aws-1":
                    sent.add_(dequantise(exchange.retained()[-1].update))
                shared = local
            assert exchange.drain(HANG_S)
            return rounds.outer_tensors()["residual"]

    residual = together_by_site(run)["aws-1"]
    assert residual.abs().max() > 0
    torch.testing.assert_close(sent + residual, true, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fragments", [1, 3])
def test_overlap_at_an_inner_rate_of_zero_is_no_overlap(fragments):
    def run_with(overlap):
        ports = ports_of(*TWO)

        def run(site):
            with make_exchange(site, ports, fragments=fragments) as exchange:
                rounds = make_synchronizer(exchange, ports, torch.zeros(SIZE), lr=0.7, momentum=0.6, bits=4)
                local = torch.zeros(SIZE)
                for number in range(1, 4):
                    generator = torch.Generator().manual_seed(SEEDS[site] + number)
                    local = local + torch.randn(SIZE, generator=generator)
                    for _ in range(fragments):
                        rounds.begin(local[rounds.next_fragment], number * SAMPLES[site])
                    for _ in range(overlap):
                        local = local - 0.0 * torch.randn(SIZE, generator=generator)
                    for _ in range(fragments):
                        finish(rounds, local)
                assert exchange.drain(HANG_S)
                return local, rounds.digest()

        return together_by_site(run)

    waited, overlapped = run_with(0), run_with(5)
    for site in TWO:
        assert torch.equal(overlapped[site][0], waited[site][0])
        assert overlapped[site][1] == waited[site][1]


@pytest.mark.parametrize("bits", [2, 8, 32])
def test_fragments_that_are_all_due_together_are_the_whole(bits):
    plan = {"lr": 0.7, "momentum": 0.6, "bits": bits}
    whole, cut = (
        train(TWO, sorted([3, 6, 9] * fragments), fragments=fragments, overlap=1, **plan) for fragments in (1, 4)
    )
    for site in TWO:
        assert torch.equal(cut[site].local, whole[site].local)
        for name, tensor in whole[site].rounds.outer_tensors().items():
            assert torch.equal(cut[site].rounds.outer_tensors()[name], tensor)


def test_fragments_travel_at_times_of_their_own_and_all_samples_count_once_for_each():
    due = due_steps(8, 3, 4)
    assert due == [2, 4, 6, 8, 10, 12, 14, 16, 24, 24, 24, 24]
    results = train(TWO, due, fragments=4, overlap=1, bits=4, lr=0.7, momentum=0.6)
    assert results["aws-1"].digests == results["os-1"].digests
    for training in results.values():
        assert [(report.round, report.fragment) for report in training.reports] == [
            (number, fragment) for number in (1, 2, 3) for fragment in range(4)
        ]
        for fragment in range(4):
            of_fragment = [report.samples for report in training.reports if report.fragment == fragment]
            assert {site: sum(samples[site] for samples in of_fragment) for site in TWO} == {
                site: 24 * SAMPLES[site] for site in TWO
            }
    assert torch.equal(results["aws-1"].local, results["os-1"].local)


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


def test_progress_made_while_frames_travel_is_kept():
    ports = ports_of(*TWO)

    def run(site):
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(4), bits=32)
            rounds.begin(torch.full((4,), 2.0), 1)
            local = torch.full((4,), 2.0 + (site == "os-1"))
            finish(rounds, local)
            assert exchange.drain(HANG_S)
            return local

    alone, ahead = together_by_site(run).values()
    assert torch.equal(alone, torch.full((4,), 2.0))
    assert torch.equal(ahead, torch.full((4,), 3.0))


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
def test_an_outage_loses_no_sample_and_ends_with_equal_states(silent, fragments):
    """A site whose deadline passes trains on; its samples count in the next round of each fragment."""
    ports = ports_of(*TWO)
    to_os, to_aws = BreakableLink(ports["os-1"]), BreakableLink(ports["aws-1"])
    with (
        to_os,
        to_aws,
        make_exchange("aws-1", ports, via={"os-1": to_os.port}, fragments=fragments) as at_aws,
        make_exchange("os-1", ports, via={"aws-1": to_aws.port}, fragments=fragments) as at_os,
    ):
        rounds = {
            exchange.site: make_synchronizer(exchange, ports, torch.zeros(SIZE), lr=0.7, momentum=0.9)
            for exchange in (at_aws, at_os)
        }
        local = together_by_site(lambda site: learn(rounds[site], torch.zeros(SIZE), SEEDS[site], SAMPLES[site]))
        for link in (to_os, to_aws):
            link.swallow() if silent else link.cut()

        for site in TWO:  # a round is begun and cannot commit, however often it is tried
            local[site] = local[site] + 1
            for _ in range(fragments):
                rounds[site].begin(local[site][rounds[site].next_fragment], SAMPLES[site] + 7)
            assert not rounds[site].can_begin
            assert not rounds[site].arrived(0.05)
            assert not rounds[site].arrived(0.0)
            with pytest.raises(RuntimeError, match="has not arrived"):
                rounds[site].commit()
            local[site] = local[site] + 0.5
        for link in (to_os, to_aws):
            link.restore()

        def end(site):
            reports = [finish(rounds[site], local[site]) for _ in range(fragments)]
            for _ in range(fragments):
                rounds[site].begin(local[site][rounds[site].next_fragment], SAMPLES[site] + 18)
            reports += [finish(rounds[site], local[site]) for _ in range(fragments)]
            return reports, rounds[site].digest()

        results = together_by_site(end)
        for reports, digest in results.values():
            assert digest == results["aws-1"][1]
            assert [report.samples for report in reports] == [dict.fromkeys(TWO, 7)] * fragments + [
                dict.fromkeys(TWO, 11)
            ] * fragments


def test_frames_that_are_merged_while_a_site_begins_to_wait_for_them_are_not_waited_for(monkeypatch):
    """The worker looks by itself, and may take a turn between two instructions of the training thread."""
    ports = ports_of(*TWO)
    with make_exchange("aws-1", ports) as at_aws, make_exchange("os-1", ports) as at_os:
        ours, theirs = (make_synchronizer(exchange, ports, torch.zeros(SIZE)) for exchange in (at_aws, at_os))
        found = []

        def collect_late(turn, timeout_s):
            if timeout_s != 0:
                assert ours._merger._worker.wait_for(lambda: ours._state.merged == turn, HANG_S)
                found.append(Exchange.collect(at_aws, turn, 0))
            return Exchange.collect(at_aws, turn, 0)

        monkeypatch.setattr(at_aws, "collect", collect_late)
        for rounds in (ours, theirs):
            rounds.begin(torch.ones(SIZE), 1)
        assert theirs.arrived(HANG_S)
        assert ours.arrived(HANG_S)
        assert all(frames is not None for frames in found)
        ours.commit()
        assert Exchange.collect(at_aws, 1, 0) is None


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


def test_a_link_that_breaks_for_less_than_the_deadline_is_not_noticed_by_the_rounds():
    ports = ports_of(*TWO)
    size = 4_000_000
    with (
        BreakableLink(ports["os-1"]) as link,
        make_exchange("aws-1", ports, via={"os-1": link.port}) as at_aws,
        make_exchange("os-1", ports) as at_os,
    ):
        link.cut_after(2_000_000)  # in the middle of the frame
        exchanges = (at_aws, at_os)
        rounds = [make_synchronizer(exchange, ports, torch.zeros(size)) for exchange in exchanges]
        together(*[lambda one=one: learn(one, torch.zeros(size), 1, 1) for one in rounds])
        assert link.connections == 2
        assert rounds[0].digest() == rounds[1].digest()
        # The second attempt went on from the byte that the first had reached.
        assert at_aws.payload_bytes_received == rounds[0].form_of(1).payload_bytes


@pytest.mark.parametrize("difference", ["initial", "lr", "momentum"])
def test_sites_that_began_differently_find_out_in_the_first_round(difference):
    ports = ports_of(*TWO)

    def run(site):
        differs = site == "os-1"
        initial = torch.full((SIZE,), float(differs and difference == "initial"))
        plan = {difference: 0.5} if differs and difference in {"lr", "momentum"} else {}
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, initial, **plan)
            rounds.begin(initial, 1)
            with pytest.raises(UserError, match="grew from another state"):
                rounds.arrived(HANG_S)
            exchange.drain(HANG_S)
            return exchange.refused["diverged"], rounds.round

    assert together_by_site(run) == {"aws-1": (1, 0), "os-1": (1, 0)}


@pytest.fixture
def alone():
    return make_synchronizer(make_exchange("aws-1", ports_of("aws-1")), {"aws-1": 0}, torch.zeros(4))


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
