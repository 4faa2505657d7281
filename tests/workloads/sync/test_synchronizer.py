"""The rounds' exact properties, over real exchanges on loopback."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import HANG_S, RUN, learn, make_exchange, make_synchronizer, ports_of, together
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.recipe import OuterSpec
from workloads.sync import Exchange, Synchronizer
from workloads.sync.quantise import dequantise

TWO = ("aws-1", "os-1")
THREE = ("aws-1", "os-1", "os-2")
SAMPLES = {"aws-1": 3, "os-1": 5, "os-2": 1}
SEEDS = {"aws-1": 100, "os-1": 200, "os-2": 300}
SIZE = 1000


def together_by_site(call, sites=TWO):
    """Results of `call(site)` by site, made at the same time."""
    return dict(zip(sites, together(*[lambda site=site: call(site) for site in sites]), strict=True))


def copy_of(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def run_rounds(sites, count, *, initial=None, **outer):
    """Each site learns at random for `count` rounds. Returns by site the digests after each, and the last parameters."""
    initial = torch.zeros(SIZE) if initial is None else initial
    ports = ports_of(*sites)

    def run(site):
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, initial, **outer)
            local, digests = initial, []
            for number in range(count):
                local = learn(rounds, local, SEEDS[site] + number, SAMPLES[site])
                digests.append(rounds.digest())
            assert exchange.drain(HANG_S)
            return digests, local

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
            for _ in range(4):
                local = sgd_step(local, inputs[site])
                rounds.begin(local, SAMPLES[site])
                rounds.commit(HANG_S)
                local = rounds.merge(local)
            assert exchange.drain(HANG_S)
            return local

    merged = together_by_site(run, sites).values()
    union = weights
    for _ in range(4):
        union = sgd_step(union, torch.cat(list(inputs.values())))
    for local in merged:
        torch.testing.assert_close(local, union, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("bits", [8, 32])
def test_a_site_alone_trains_as_if_there_were_no_rounds(bits):
    torch.manual_seed(0)
    batch, targets = torch.randn(64, 8), torch.randint(3, (64,))

    def train(merge):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
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
        local = nn.utils.parameters_to_vector(model.parameters()).detach()
        if not rounds:
            exchange = make_exchange("aws-1", ports_of("aws-1"))
            rounds.append(make_synchronizer(exchange, {"aws-1": 0}, local, bits=bits))
        if step % 3 == 1:
            rounds[0].begin(local, 10)
        if step % 3 == 2:  # a step after the snapshot
            assert rounds[0].commit(None).samples == {"aws-1": 10}
            nn.utils.vector_to_parameters(rounds[0].merge(local), model.parameters())

    assert torch.equal(train(merge), train(lambda *_: None))
    assert rounds[0].round == 4


def test_one_site_with_outer_momentum_takes_the_outer_step():
    exchange = make_exchange("aws-1", ports_of("aws-1"))
    rounds = make_synchronizer(exchange, {"aws-1": 0}, torch.zeros(4), lr=0.5, momentum=0.5)
    rounds.begin(torch.ones(4), 1)
    rounds.commit(None)
    assert torch.equal(rounds.merge(torch.ones(4)), torch.full((4,), 0.75))  # 0.5 * (1 + 0.5)


@pytest.mark.parametrize("outer", [{}, {"lr": 0.7, "momentum": 0.9}, {"lr": 0.7, "momentum": 0.6, "bits": 32}])
@pytest.mark.parametrize("sites", [TWO, THREE])
def test_the_outer_state_is_the_same_on_every_site_after_every_round(sites, outer):
    results = run_rounds(sites, 4, **outer)
    digests, parameters = zip(*results.values(), strict=True)
    assert all(other == digests[0] for other in digests)
    assert len(set(digests[0])) == 4
    assert all(torch.equal(other, parameters[0]) for other in parameters)


def test_error_feedback_loses_nothing():
    """In multiples of 2^-20 all sums are exact in float64: what was sent and the residual equal what was true."""
    ports = ports_of(*TWO)
    true, sent = torch.zeros(SIZE, dtype=torch.float64), torch.zeros(SIZE, dtype=torch.float64)

    def run(site):
        generator = torch.Generator().manual_seed(SEEDS[site])
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(SIZE, dtype=torch.float64))
            shared = torch.zeros(SIZE, dtype=torch.float64)
            for _ in range(6):
                step = torch.randint(-(1 << 20), 1 << 20, (SIZE,), generator=generator).double() / (1 << 20)
                rounds.begin(shared + step, 1)
                if site == "aws-1":
                    true.sub_((shared + step) - shared)
                    sent.add_(dequantise(exchange.retained()[-1].update))
                rounds.commit(HANG_S)
                shared = rounds.merge(shared + step)
            assert exchange.drain(HANG_S)
            return rounds.state_dict()["residual"]

    residual = together_by_site(run)["aws-1"]
    assert residual.abs().max() > 0
    torch.testing.assert_close(sent + residual, true, rtol=0, atol=1e-12)


def test_samples_and_bytes_of_a_round_are_reported_exactly():
    ports = ports_of(*THREE)

    def run(site):
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(SIZE))
            rounds.begin(torch.ones(SIZE), SAMPLES[site])
            report = rounds.commit(HANG_S)
            assert exchange.drain(HANG_S)
            return report, exchange.payload_bytes_sent, exchange.payload_bytes_received

    payload = 1000 + 2 * 4
    for report, sent, received in together_by_site(run, THREE).values():
        assert (report.round, report.samples) == (1, SAMPLES)
        assert report.bytes_sent == report.bytes_received == sent == received == 2 * payload
        assert report.wait_s >= 0


def test_progress_made_while_frames_travel_is_kept():
    ports = ports_of(*TWO)

    def run(site):
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, torch.zeros(4), bits=32)
            rounds.begin(torch.full((4,), 2.0), 1)
            rounds.commit(HANG_S)
            merged = rounds.merge(torch.full((4,), 2.0 + (site == "os-1")))
            assert exchange.drain(HANG_S)
            return merged

    alone, ahead = together_by_site(run).values()
    assert torch.equal(alone, torch.full((4,), 2.0))
    assert torch.equal(ahead, torch.full((4,), 3.0))


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
def test_an_outage_loses_no_sample_and_ends_with_equal_states(silent):
    """A site whose deadline passes trains on; its samples count in the next round."""
    ports = ports_of(*TWO)
    to_os, to_aws = BreakableLink(ports["os-1"]), BreakableLink(ports["aws-1"])
    with (
        to_os,
        to_aws,
        make_exchange("aws-1", ports, via={"os-1": to_os.port}) as at_aws,
        make_exchange("os-1", ports, via={"aws-1": to_aws.port}) as at_os,
    ):
        rounds = {
            exchange.site: make_synchronizer(exchange, ports, torch.zeros(SIZE), lr=0.7, momentum=0.9)
            for exchange in (at_aws, at_os)
        }
        local = together_by_site(lambda site: learn(rounds[site], torch.zeros(SIZE), SEEDS[site], SAMPLES["aws-1"]))
        for link in (to_os, to_aws):
            link.swallow() if silent else link.cut()

        trained = dict.fromkeys(TWO, SAMPLES["aws-1"])
        committed = dict.fromkeys(TWO, SAMPLES["aws-1"])
        for site in TWO:  # a round is begun and cannot commit, however often it is tried
            local[site] = local[site] + 1
            trained[site] += 7
            rounds[site].begin(local[site], 7)
            assert rounds[site].commit(0.05) is None
            assert rounds[site].commit(0.0) is None
            assert rounds[site].pending
            local[site] = local[site] + 0.5
            trained[site] += 11
        for link in (to_os, to_aws):
            link.restore()

        def finish(site):
            samples = [rounds[site].commit(HANG_S).samples[site]]
            local[site] = rounds[site].merge(local[site])
            rounds[site].begin(local[site], 11)
            samples.append(rounds[site].commit(HANG_S).samples[site])
            return sum(samples), rounds[site].digest()

        results = together_by_site(finish)
        assert {site: committed[site] + results[site][0] for site in TWO} == trained
        assert results["aws-1"][1] == results["os-1"][1]


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
        assert at_aws.payload_bytes_received == rounds[0]._format.payload_bytes


@pytest.mark.parametrize("outer", [{"lr": 0.7, "momentum": 0.9}, {"bits": 32}])
def test_sites_that_restart_from_their_states_go_on_bit_identically(outer):
    uninterrupted = run_rounds(TWO, 5, **outer)
    ports = ports_of(*TWO)

    def run(site):
        with make_exchange(site, ports) as exchange:
            first = make_synchronizer(exchange, ports, torch.zeros(SIZE), **outer)
            local = torch.zeros(SIZE)
            for number in range(3):
                local = learn(first, local, SEEDS[site] + number, SAMPLES[site])
            state = copy_of(first.state_dict())
            assert exchange.drain(HANG_S)
        with make_exchange(site, ports) as exchange:
            assert exchange.rendezvous([2, 3], HANG_S) == 3
            second = make_synchronizer(exchange, ports, torch.zeros(SIZE), **outer)
            second.load_state_dict(state)
            for number in range(3, 5):
                local = learn(second, local, SEEDS[site] + number, SAMPLES[site])
            assert exchange.drain(HANG_S)
            return second.digest(), local

    for site, (digest, local) in together_by_site(run).items():
        assert digest == uninterrupted[site][0][-1]
        assert torch.equal(local, uninterrupted[site][1])


def test_a_site_that_was_killed_catches_up_with_one_that_lives_on():
    """aws-1 dies with round 3 begun and restarts from round 1: os-1 still has the frames of rounds 2 and 3."""
    uninterrupted = run_rounds(TWO, 4)
    ports = ports_of(*TWO)
    with make_exchange("os-1", ports) as at_os:
        with make_exchange("aws-1", ports) as at_aws:
            rounds = {e.site: make_synchronizer(e, ports, torch.zeros(SIZE)) for e in (at_aws, at_os)}
            local = dict.fromkeys(TWO, torch.zeros(SIZE))
            states = []
            for number in range(2):
                local = together_by_site(
                    lambda site, number=number, local=local: learn(
                        rounds[site], local[site], SEEDS[site] + number, SAMPLES[site]
                    )
                )
                states.append((local["aws-1"], copy_of(rounds["aws-1"].state_dict())))
        survivor = rounds["os-1"]
        ahead = local["os-1"] + torch.randn(SIZE, generator=torch.Generator().manual_seed(SEEDS["os-1"] + 2))
        survivor.begin(ahead, SAMPLES["os-1"])
        assert survivor.commit(0.0) is None

        with make_exchange("aws-1", ports) as at_aws:
            assert at_aws.rendezvous([1], HANG_S) == 1
            restarted = make_synchronizer(at_aws, ports, torch.zeros(SIZE))
            parameters, state = states[0]
            restarted.load_state_dict(state)

            def catch_up():
                local = parameters
                for number in range(1, 4):
                    local = learn(restarted, local, SEEDS["aws-1"] + number, SAMPLES["aws-1"])
                return restarted.digest()

            def go_on():
                survivor.commit(HANG_S)
                learn(survivor, survivor.merge(ahead), SEEDS["os-1"] + 3, SAMPLES["os-1"])
                return survivor.digest()

            assert together(catch_up, go_on) == [uninterrupted["aws-1"][0][-1]] * 2


@pytest.mark.parametrize("difference", ["initial", "outer"])
def test_sites_that_began_differently_find_out_in_the_first_round(difference):
    ports = ports_of(*TWO)

    def run(site):
        differs = site == "os-1"
        initial = torch.full((SIZE,), float(differs and difference == "initial"))
        outer = {"lr": 0.9 if differs and difference == "outer" else 1.0}
        with make_exchange(site, ports) as exchange:
            rounds = make_synchronizer(exchange, ports, initial, **outer)
            rounds.begin(initial, 1)
            with pytest.raises(UserError, match="grew from another state"):
                rounds.commit(HANG_S)
            exchange.drain(HANG_S)
            return exchange.refused["diverged"], rounds.round

    assert together_by_site(run) == {"aws-1": (1, 0), "os-1": (1, 0)}


@pytest.fixture
def alone():
    return make_synchronizer(make_exchange("aws-1", ports_of("aws-1")), {"aws-1": 0}, torch.zeros(4))


def test_the_calls_of_a_round_have_one_order(alone):
    with pytest.raises(RuntimeError, match="no round is pending"):
        alone.commit(0)
    alone.begin(torch.ones(4), 1)
    for call in (lambda: alone.begin(torch.ones(4), 1), lambda: alone.merge(torch.ones(4)), alone.state_dict):
        with pytest.raises(RuntimeError, match="round 1 is pending"):
            call()


@pytest.mark.parametrize("local", [torch.zeros(5), torch.zeros(4, dtype=torch.float64), torch.zeros(2, 2), [0.0] * 4])
def test_parameters_that_do_not_fit_are_refused(alone, local):
    with pytest.raises(ValueError, match=r"they must be torch.float32 \[4\]"):
        alone.begin(local, 1)


def test_a_site_that_diverges_says_so_before_it_spoils_the_others(alone):
    with pytest.raises(UserError, match=r"site aws-1, round 1: .* not finite; lower the inner learning rate"):
        alone.begin(torch.tensor([1.0, float("nan"), 0.0, 0.0]), 1)
    assert not alone.pending


@pytest.mark.parametrize("missing", ["parameters", "momentum", "residual", "round", "history"])
def test_a_state_without_one_of_its_parts_is_refused(alone, missing):
    state = alone.state_dict()
    del state[missing]
    with pytest.raises(ValueError, match=f"state has no .*{missing}"):
        alone.load_state_dict(state)


def test_a_state_of_other_parameters_is_refused(alone):
    state = {**alone.state_dict(), "parameters": torch.zeros(5)}
    with pytest.raises(ValueError, match="state has no parameters"):
        alone.load_state_dict(state)


@pytest.mark.parametrize("sites", [("aws-1",), ("aws-1", "os-2"), ("aws-1", "os-1", "os-2"), ("aws-1", "os-1", "os-1")])
def test_the_cohort_is_the_site_and_the_peers_of_its_exchange(sites):
    exchange = make_exchange("aws-1", ports_of(*TWO))
    with pytest.raises(ValueError, match=r"they must be aws-1 and its peers \['os-1'\]"):
        Synchronizer(site="aws-1", sites=sites, initial=torch.zeros(4), outer=OuterSpec(), exchange=exchange)


def test_kept_frames_are_served_all_at_once():
    """A peer that asked between two of them would take the site for one that has just begun."""
    seen = []

    class Watched(Exchange):
        def publish(self, *frames):
            super().publish(*frames)
            seen.append([frame.header.round for frame in self.retained()])

    ports = ports_of("aws-1")
    make = partial(Watched, run_id=RUN, site="aws-1", listen=Endpoint(port=ports["aws-1"]), peers={}, credentials=None)
    first = make_synchronizer(make(max_frame_bytes=1 << 20), ports, torch.zeros(4))
    local = torch.zeros(4)
    for seed in range(4):
        local = learn(first, local, seed, 1)
    seen.clear()
    second = make_synchronizer(make(max_frame_bytes=1 << 20), ports, torch.zeros(4))
    second.load_state_dict(first.state_dict())
    assert seen == [[2, 3, 4]]
    assert second.digest() == first.digest()
