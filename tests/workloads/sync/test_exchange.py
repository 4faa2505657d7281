"""The exchange on real connections: whole frames through broken links, and nothing from anyone else."""

import json
import threading

import pytest
import torch

from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import (
    HANG_S,
    QUICK,
    RUN,
    make_exchange,
    make_frame,
    ports_of,
    together,
)
from tests.workloads.sync.scripted import ScriptedPeer, messages
from workloads.spec.errors import UserError
from workloads.sync.payload import UpdateFormat

VALUES = torch.linspace(-1, 1, 300)
FORM = UpdateFormat(300, torch.float32, 8)
GOOD = make_frame("os-1", 1, VALUES)


def form_of(turn):
    return FORM


@pytest.fixture
def ports():
    return ports_of("aws-1", "os-1")


def edited(**changes):
    return json.dumps({**json.loads(GOOD.encoded_header()), **changes}).encode()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (messages(make_frame("os-1", 1, VALUES, run_id="other-run")), "foreign-run"),
        (messages(make_frame("os-2", 1, VALUES)), "wrong-site"),
        (messages(make_frame("os-1", 2, VALUES)), "future-round"),
        (messages(make_frame("os-1", 1, VALUES, shard=1)), "wrong-shard"),
        (messages(make_frame("os-1", 1, VALUES, fragments=2)), "wrong-fragment"),
        (messages(GOOD, edited(payload_bytes=1 << 40)), "oversized"),
        (messages(GOOD, b"not a header"), "malformed"),
        ([GOOD.encoded_header(), bytes(GOOD.payload[:-1])], "torn"),
        ([GOOD.encoded_header(), bytes(GOOD.payload), b"more"], "oversized"),
        ([GOOD.encoded_header(), bytes(len(GOOD.payload))], "bad-checksum"),
    ],
)
def test_a_bad_frame_is_refused_and_counted_and_the_good_one_after_it_is_taken(ports, bad, reason):
    with ScriptedPeer("os-1", ports["os-1"], [bad, messages(GOOD)]), make_exchange("aws-1", ports) as exchange:
        exchange.follow(form_of, 1)
        frames = exchange.collect(1, HANG_S)
        assert torch.equal(frames["os-1"].update.payload, GOOD.update.payload)
        assert exchange.refused == {reason: 1}


def test_a_duplicate_of_a_frame_is_refused_as_stale(ports):
    second = make_frame("os-1", 2, VALUES)
    script = [messages(GOOD), messages(GOOD), messages(second)]
    with ScriptedPeer("os-1", ports["os-1"], script), make_exchange("aws-1", ports) as exchange:
        exchange.follow(form_of, 1)
        assert exchange.collect(1, HANG_S) is not None
        exchange.discard(1)
        assert exchange.collect(2, HANG_S)["os-1"].header.round == 2
        assert exchange.refused == {"stale-round": 1}


def test_a_peer_of_another_run_is_refused_by_both_and_named(ports):
    with make_exchange("aws-1", ports) as ours, make_exchange("os-1", ports, run_id="other-run") as theirs:
        ours.follow(form_of, 1)
        theirs.publish(make_frame("os-1", 1, VALUES, run_id="other-run"))
        with pytest.raises(UserError, match=r"site aws-1: no word from os-1 .*foreign-run: run-1, this is other-run"):
            ours.rendezvous([], 0.2)
        assert ours.collect(1, 0) is None
        assert theirs.refused["foreign-run"] > 0


def test_a_caller_that_is_no_site_of_the_run_is_refused(ports):
    with make_exchange("aws-1", ports), make_exchange("os-1", {**ports, "os-2": ports["aws-1"]}) as narrow:
        stranger_ports = {"os-9": ports_of("os-9")["os-9"], "os-1": ports["os-1"]}
        with (
            make_exchange("os-9", stranger_ports) as stranger,
            pytest.raises(UserError, match=r"stranger: os-9 is not one of \['aws-1', 'os-2'\]"),
        ):
            stranger.rendezvous([], 0.2)
        assert narrow.refused["stranger"] > 0


def test_payload_on_the_link_is_the_formula_s_and_all_else_is_within_one_percent(ports, authority):
    size = 4_000_000
    frame = make_frame("os-1", 1, torch.randn(size, generator=torch.Generator().manual_seed(1)))
    credentials = {site: authority.issue(site) for site in ports}
    with (
        BreakableLink(ports["os-1"]) as link,
        make_exchange("os-1", ports, credentials=credentials["os-1"]) as sender,
        make_exchange("aws-1", ports, credentials=credentials["aws-1"], via={"os-1": link.port}) as receiver,
    ):
        sender.publish(frame)
        receiver.follow(lambda _: frame.header.format, 1)
        received = receiver.collect(1, HANG_S)["os-1"]
        payload = size + 2 * (size // 256)
        assert torch.equal(received.update.payload, frame.update.payload)
        assert sender.payload_bytes_sent == receiver.payload_bytes_received == payload
        assert payload < sender.wire_bytes_sent <= link.bytes_back < payload * 1.01
        assert link.bytes_out < payload * 0.01


def test_a_frame_over_the_limit_does_not_leave(ports):
    exchange = make_exchange("os-1", ports, max_frame_bytes=303)
    with pytest.raises(UserError, match="a frame of 304 bytes is over the limit of 303"):
        exchange.publish(GOOD)


def test_frames_are_fetched_in_order_and_ahead_of_their_merge(ports):
    with make_exchange("aws-1", ports) as receiver, make_exchange("os-1", ports) as sender:
        receiver.follow(form_of, 1)
        sender.publish(GOOD)
        sender.publish(make_frame("os-1", 2, -VALUES))
        assert receiver.collect(2, HANG_S)["os-1"].header.round == 2
        assert receiver.collect(1, 0)["os-1"].header.round == 1


@pytest.mark.parametrize(("checkpoint_rounds", "kept"), [(1, [4, 5, 6]), (2, [2, 3, 4, 5, 6])])
@pytest.mark.parametrize("is_spooled", [False, True])
def test_frames_that_every_peer_has_are_dropped_when_none_can_come_back_without_them(
    ports, tmp_path, checkpoint_rounds, kept, is_spooled
):
    spool = tmp_path / "frames" if is_spooled else None
    with (
        make_exchange("aws-1", ports) as receiver,
        make_exchange("os-1", ports, checkpoint_rounds=checkpoint_rounds, spool=spool) as sender,
    ):
        receiver.follow(form_of, 1)
        for number in range(1, 7):
            sender.publish(make_frame("os-1", number, VALUES * number))
            assert receiver.collect(number, HANG_S) is not None
            receiver.discard(number)
            assert sender.drain(HANG_S)
        assert [frame.header.round for frame in sender.retained()] == kept
        for frame in sender.retained():
            assert torch.equal(frame.update.payload, make_frame("os-1", frame.turn, VALUES * frame.turn).update.payload)
        if spool is not None:  # all but the newest, which was not yet known to have arrived when it was published
            assert len(list((spool / "os-1").iterdir())) == len(kept) - 1
    assert spool is None or not any((spool / "os-1").iterdir())


def test_a_peer_that_comes_back_gets_frames_out_of_their_files(ports, tmp_path):
    with make_exchange("os-1", ports, spool=tmp_path) as alive:
        for _ in range(2):
            with make_exchange("aws-1", ports) as restarted:
                newest = max((frame.turn for frame in alive.retained()), default=0)
                restarted.follow(form_of, 1)
                for number in range(1, 4):
                    if number > newest:
                        alive.publish(make_frame("os-1", number, VALUES * number))
                    frame = restarted.collect(number, HANG_S)["os-1"]
                    assert torch.equal(frame.update.payload, make_frame("os-1", number, VALUES * number).update.payload)
                    restarted.discard(number)
                assert alive.drain(HANG_S)
        assert alive.refused == {}


def test_fragments_of_a_round_are_fetched_in_turn_each_in_its_own_format_and_kept_for_three_and_a_half_rounds(ports):
    sizes = {0: 300, 1: 256}

    def two_forms(turn):
        return UpdateFormat(sizes[(turn - 1) % 2], torch.float32, 8)

    with (
        make_exchange("aws-1", ports, fragments=2) as receiver,
        make_exchange("os-1", ports, fragments=2) as sender,
    ):
        receiver.follow(two_forms, 1)
        for turn in range(1, 11):
            round_number, fragment = (turn + 1) // 2, (turn - 1) % 2
            values = torch.ones(sizes[fragment])
            sender.publish(make_frame("os-1", round_number, values, fragment=fragment, fragments=2))
            header = receiver.collect(turn, HANG_S)["os-1"].header
            assert (header.round, header.fragment, header.shape) == (round_number, fragment, (sizes[fragment],))
            receiver.discard(turn)
            assert sender.drain(HANG_S)
        assert [frame.turn for frame in sender.retained()] == [4, 5, 6, 7, 8, 9, 10]


def test_a_site_may_resume_after_whole_rounds_whose_later_fragments_are_all_kept(ports):
    with (
        make_exchange("os-1", ports, fragments=2) as alive,
        make_exchange("aws-1", ports, fragments=2) as restarted,
    ):
        for turn in range(6, 12):  # fragment 1 of round 3 to fragment 0 of round 6
            alive.publish(make_frame("os-1", (turn + 1) // 2, VALUES, fragment=(turn - 1) % 2, fragments=2))
        with pytest.raises(UserError, match=r"os-1 goes on after \[3, 4, 5\] only"):
            restarted.rendezvous([2], HANG_S)
        assert restarted.rendezvous([2, 4], HANG_S) == 4


def test_a_request_for_another_part_of_the_model_is_refused_and_counted(ports):
    with make_exchange("os-1", ports, part=0) as ours, make_exchange("aws-1", ports, part=1) as theirs:
        with pytest.raises(UserError, match=r"wrong-shard: part 1 of the model, this is part 0"):
            theirs.rendezvous([], 0.2)
        assert ours.refused["wrong-shard"] > 0


def test_frames_that_a_peer_has_not_got_are_kept_however_old(ports):
    with make_exchange("os-1", ports) as sender:
        for number in range(1, 7):
            sender.publish(make_frame("os-1", number, VALUES))
        assert len(sender.retained()) == 6


@pytest.mark.parametrize(
    ("at_aws", "at_os", "common"),
    [([], [], 0), ([3, 4], [], 0), ([3, 4], [4], 4), ([3, 4], [2, 3], 3), ([1], [2], 0)],
)
def test_starting_sites_agree_on_the_newest_round_that_both_have(ports, at_aws, at_os, common):
    with make_exchange("aws-1", ports) as aws, make_exchange("os-1", ports) as os:
        rounds = together(lambda: aws.rendezvous(at_aws, HANG_S), lambda: os.rendezvous(at_os, HANG_S))
        assert rounds == [common, common]


def test_three_starting_sites_agree():
    ports = ports_of("aws-1", "os-1", "os-2")
    saved = {"aws-1": [4, 5], "os-1": [5, 6], "os-2": [4, 5, 6]}
    with make_exchange("aws-1", ports) as a, make_exchange("os-1", ports) as b, make_exchange("os-2", ports) as c:
        rounds = together(*[lambda e=e: e.rendezvous(saved[e.site], HANG_S) for e in (a, b, c)])
        assert rounds == [5, 5, 5]


def test_a_site_that_lives_on_is_resumed_with_as_long_as_it_keeps_the_frames(ports):
    with make_exchange("os-1", ports) as alive, make_exchange("aws-1", ports) as restarted:
        for number in (7, 8, 9):
            alive.publish(make_frame("os-1", number, VALUES))
        assert restarted.rendezvous([5, 6], HANG_S) == 6
        assert restarted.rendezvous([8, 9], HANG_S) == 9
        with pytest.raises(UserError, match=r"resume after rounds \[0, 5\], os-1 goes on after \[6, 7, 8, 9\] only"):
            restarted.rendezvous([5], HANG_S)


def test_what_a_restarted_site_was_promised_is_kept_until_it_has_it(ports):
    with make_exchange("os-1", ports) as alive:
        with make_exchange("aws-1", ports) as killed:
            killed.follow(form_of, 1)
            alive.publish(GOOD)
            assert alive.drain(HANG_S)
        with make_exchange("aws-1", ports) as restarted:
            assert restarted.rendezvous([], HANG_S) == 0
            for number in range(2, 6):
                alive.publish(make_frame("os-1", number, VALUES))
            restarted.follow(form_of, 1)
            assert restarted.collect(1, HANG_S)["os-1"].header == GOOD.header


def test_a_rendezvous_waits_for_a_site_that_is_late(ports):
    with BreakableLink(ports["os-1"]) as link, make_exchange("aws-1", ports, via={"os-1": link.port}) as early:
        waiting = threading.Thread(target=lambda: rounds.append(early.rendezvous([1], None)))
        rounds = []
        waiting.start()
        with make_exchange("os-1", ports) as late:
            assert link.await_connections(1, HANG_S)
            late.rendezvous([1], HANG_S)
            waiting.join(HANG_S)
            assert rounds == [1]


def test_a_rendezvous_says_who_was_not_there(ports):
    with (
        make_exchange("aws-1", ports) as exchange,
        pytest.raises(
            UserError, match=r"site aws-1: no word from os-1 within \d+ s \(UNAVAILABLE: .*\); see that it runs"
        ),
    ):
        exchange.rendezvous([], 0.2)


def test_draining_waits_for_the_peer_s_fetch(ports):
    with make_exchange("os-1", ports) as sender:
        sender.publish(GOOD)
        assert not sender.drain(0.05)
        with make_exchange("aws-1", ports) as receiver:
            receiver.follow(form_of, 1)
            assert sender.drain(HANG_S)


def test_closing_ends_whatever_waits(ports):
    with BreakableLink(ports["os-1"]) as link, make_exchange("os-1", ports) as sender:
        receiver = make_exchange("aws-1", ports, via={"os-1": link.port})
        receiver.start()
        receiver.follow(form_of, 1)
        assert link.await_connections(1, HANG_S)
        link.swallow()
        sender.publish(GOOD)
        results = []
        waiters = [
            threading.Thread(target=lambda: results.append(receiver.collect(1, None))),
            threading.Thread(target=lambda: results.append(sender.drain(None))),
        ]
        for waiter in waiters:
            waiter.start()
        for exchange in (receiver, sender):
            exchange.close()
            exchange.close()
        for waiter in waiters:
            waiter.join(HANG_S)
        assert sorted(results, key=str) == [False, None]


def test_a_port_in_use_is_named(ports):
    with (
        make_exchange("aws-1", ports),
        pytest.raises(UserError, match=f"site aws-1: cannot listen at 127.0.0.1:{ports['aws-1']}"),
    ):
        make_exchange("aws-1", ports).start()


def test_a_site_is_not_its_own_peer(ports):
    with pytest.raises(ValueError, match="own peer"):
        type(make_exchange("aws-1", ports))(
            run_id=RUN,
            site="aws-1",
            listen=make_exchange("aws-1", ports)._listen,
            peers={"aws-1": make_exchange("aws-1", ports)._listen},
            credentials=None,
            max_frame_bytes=1,
            patience=QUICK,
        )
