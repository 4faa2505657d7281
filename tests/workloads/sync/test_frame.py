"""A frame is taken whole and from the right place, or refused by name."""

import json

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.workloads.sync.cohort import HISTORY, RUN, make_frame
from workloads.sync.frame import Assembly, Expected, Frame, RefusedError, decode_frame, encode_frame, parse_header
from workloads.sync.payload import UpdateFormat

VALUES = torch.linspace(-1, 1, 300)
FORM = UpdateFormat(300, torch.float32, 8)
EXPECTED = Expected(RUN, "os-1", 3, FORM, limit=1 << 20)


def receive(header, payload, expected=EXPECTED):
    assembly = Assembly(expected)
    assembly.open(header)
    for start in range(0, len(payload), 100):
        assembly.feed(bytes(payload[start : start + 100]))
    return assembly.close()


def frame(**changes):
    return make_frame(**{"site": "os-1", "round_number": 3, "values": VALUES, **changes})


def edited(**changes):
    return json.dumps({**json.loads(frame().encoded_header()), **changes}).encode()


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_a_frame_arrives_as_it_was_sent(bits):
    sent = frame(bits=bits)
    form = UpdateFormat(300, torch.float32, bits)
    received = receive(sent.encoded_header(), sent.payload, Expected(RUN, "os-1", 3, form, limit=1 << 20))
    assert received.header == sent.header
    assert torch.equal(received.update.payload, sent.update.payload)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (frame(run_id="other-run"), "foreign-run"),
        (frame(site="aws-1"), "wrong-site"),
        (frame(round_number=2), "stale-round"),
        (frame(round_number=4), "future-round"),
        (frame(values=VALUES[:299]), "wrong-shape"),
        (frame(values=VALUES.double()), "wrong-dtype"),
        (frame(bits=32), "wrong-bits"),
        (frame(bits=4), "wrong-bits"),
        (frame(fragments=2), "wrong-fragment"),
        (frame(shard=1), "wrong-shard"),
    ],
)
def test_a_frame_of_another_kind_is_refused_by_name(sent, reason):
    with pytest.raises(RefusedError) as refusal:
        receive(sent.encoded_header(), sent.payload)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("round_number", "fragment", "reason"),
    [(2, 1, "stale-round"), (3, 0, "wrong-fragment"), (3, 2, "wrong-fragment"), (4, 1, "future-round")],
)
def test_a_frame_of_another_turn_is_refused_by_name(round_number, fragment, reason):
    """Turn 8 of three fragments a round is fragment 1 of round 3."""
    expected = Expected(RUN, "os-1", 8, FORM, limit=1 << 20, fragments=3)
    right = frame(fragment=1, fragments=3)
    assert receive(right.encoded_header(), right.payload, expected).turn == 8
    wrong = frame(round_number=round_number, fragment=fragment, fragments=3)
    with pytest.raises(RefusedError) as refusal:
        receive(wrong.encoded_header(), wrong.payload, expected)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (edited(shard=1), "wrong-shard"),
        (edited(payload_bytes=1 << 30), "oversized"),
        (edited(payload_bytes=7), "torn"),
        (edited(version=1), "version"),
        (edited(fragment=1), "malformed"),
        (edited(fragments=2), "wrong-fragment"),
        (edited(samples=0), "malformed"),
        (edited(shape=[300, 1]), "malformed"),
        (edited(extra=1), "malformed"),
        (b"[]", "version"),
        (b"\x80\x04K\x01.", "malformed"),  # a pickle
        (edited(checksum="0" * 64), "bad-checksum"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_name(header, reason):
    with pytest.raises(RefusedError) as refusal:
        receive(header, frame().payload)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda payload: payload[:-1], "torn"),
        (lambda payload: payload + b"x", "oversized"),
        (lambda payload: payload[:50] + bytes([payload[50] ^ 1]) + payload[51:], "bad-checksum"),
    ],
)
def test_a_payload_that_is_not_what_the_header_says_is_refused_by_name(spoil, reason):
    with pytest.raises(RefusedError) as refusal:
        receive(frame().encoded_header(), spoil(bytes(frame().payload)))
    assert refusal.value.reason == reason


def test_an_update_that_would_spoil_the_model_is_refused_although_its_checksum_is_right():
    poisoned = frame()
    poisoned.update.payload[:2].view(torch.float16)[0] = float("inf")
    poisoned = Frame.of(poisoned.update, run_id=RUN, site="os-1", round_number=3, samples=1, history=HISTORY)
    with pytest.raises(RefusedError) as refusal:
        receive(poisoned.encoded_header(), poisoned.payload)
    assert refusal.value.reason == "non-finite"


def test_a_frame_goes_on_where_the_link_broke():
    sent = frame()
    assembly = Assembly(EXPECTED)
    assembly.open(sent.encoded_header())
    assembly.feed(bytes(sent.payload[:120]))
    assembly.open(sent.encoded_header())
    assembly.feed(bytes(sent.payload[assembly.received :]))
    assert torch.equal(assembly.close().update.payload, sent.update.payload)


def test_a_frame_that_changes_between_two_attempts_is_refused():
    assembly = Assembly(EXPECTED)
    assembly.open(frame().encoded_header())
    with pytest.raises(RefusedError) as refusal:
        assembly.open(frame(values=-VALUES).encoded_header())
    assert refusal.value.reason == "torn"


DATASET = TensorDataset(torch.randn(8, 4), torch.arange(8))


@pytest.mark.parametrize(
    "thing",
    [
        DATASET,
        next(iter(DataLoader(DATASET, batch_size=4))),
        {"input_ids": torch.ones(2, 3, dtype=torch.int64)},
        torch.randn(8, 4),
        torch.arange(8),
        torch.randn(8),
        b"text of a site",
        "text of a site",
        {"loss": 1.0},
        None,
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_nothing_but_an_update_of_the_outer_state_can_become_a_frame(thing):
    with pytest.raises(TypeError, match="only an update of the outer state can leave a site"):
        Frame.of(thing, run_id=RUN, site="os-1", round_number=1, samples=1, history=HISTORY)


def test_a_kept_frame_comes_back_from_its_tensors():
    sent = frame()
    kept = decode_frame(**encode_frame(sent))
    assert kept.header == sent.header
    assert torch.equal(kept.update.payload, sent.update.payload)


def test_a_kept_frame_that_was_changed_is_refused():
    tensors = {name: tensor.clone() for name, tensor in encode_frame(frame()).items()}
    tensors["payload"][-1] ^= 1
    with pytest.raises(RefusedError, match="bad-checksum"):
        decode_frame(**tensors)


def test_a_header_says_all_that_a_receiver_needs():
    header = parse_header(frame().encoded_header())
    assert (header.run_id, header.site, header.round, header.shard, header.samples) == (RUN, "os-1", 3, 0, 1)
    assert (header.fragment, header.fragments, header.turn) == (0, 1, 3)
    assert header.format == FORM
    assert header.payload_bytes == FORM.payload_bytes
