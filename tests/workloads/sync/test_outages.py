"""Rounds over links that break, and sites that never belonged together."""

import pytest
import torch

from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of, together
from tests.workloads.sync.turns import (
    SAMPLES,
    SEEDS,
    SIZE,
    TWO,
    finish,
    learn,
    make_synchronizer,
    together_by_site,
)
from workloads.spec.errors import UserError
from workloads.sync import Exchange


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
