"""The rounds' exact properties, over real exchanges on loopback."""

import pytest
import torch
from torch import nn

from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of
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
from workloads.sync.quantise import dequantise


def run_rounds(sites, count, *, initial=None, fragments=1, **plan):
    """Each site learns at random for the `count` rounds of a plan. Returns by site the digests after each, and the last parameters."""
    initial = torch.zeros(SIZE) if initial is None else initial
    ports = ports_of(*sites)

    def run(site):
        with make_exchange(site, ports, fragments=fragments) as exchange:
            rounds = make_synchronizer(exchange, ports, initial, **{"rounds": count, **plan})
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


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_error_feedback_loses_nothing(bits, fragments, overlap):
    """In multiples of 2^-40 all sums are exact in float64. Sent, held back and carried by the parameters: what was true."""
    ports = ports_of(*TWO)

    def steps(generator):
        return torch.randint(-(1 << 40), 1 << 40, (SIZE,), generator=generator).double() / (1 << 40)

    def run(site):
        generator = torch.Generator().manual_seed(SEEDS[site])
        with make_exchange(site, ports, fragments=fragments) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(SIZE, dtype=torch.float64), bits=bits)
            local, true, sent = (torch.zeros(SIZE, dtype=torch.float64) for _ in range(3))
            for number in range(6):
                local += (learnt := steps(generator))
                true -= learnt
                for _ in range(fragments):
                    rounds.begin(local[rounds.next_fragment], number + 1)
                if overlap:
                    local += (learnt := steps(generator))
                    true -= learnt
                for where in rounds.fragments:
                    finish(rounds, local)
                    sent[where] += dequantise(exchange.retained()[-rounds.begun + rounds.committed - 1].update)
            assert exchange.drain(HANG_S)
            tensors = rounds.outer_tensors()
            return sent, tensors["residual"].double(), tensors["parameters"] - local, true

    for sent, held, carried, true in together_by_site(run).values():
        assert held.any()
        assert carried.any()
        assert torch.equal(sent + held + carried, true)


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
    results = train(TWO, due, fragments=4, overlap=1, bits=4, lr=0.7, momentum=0.6, rounds=3)
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
