"""Frames that lie in files come back as they were, and a file that cannot be had is a frame that is kept otherwise, or not."""

import pytest
import torch

from tests.workloads.sync.cohort import make_frame
from workloads.sync.outbox import retained_turns
from workloads.sync.spool import Spool

VALUES = torch.arange(300.0)


@pytest.fixture(params=[False, True], ids=["memory", "files"])
def spool(request, tmp_path):
    return Spool(tmp_path / "spool" if request.param else None)


def test_frames_come_back_as_they_were_until_they_are_dropped(spool):
    frames = {number: make_frame("aws-1", number, number * VALUES) for number in (1, 2, 3)}
    for frame in frames.values():
        spool.put(frame)
    assert set(spool.turns) == {1, 2, 3}
    for number, frame in frames.items():
        kept = spool.get(number)
        assert kept.header == frame.header
        assert torch.equal(kept.update.payload, frame.update.payload)
    spool.drop(2)
    assert spool.get(2) is None
    assert set(spool.turns) == {1, 3}
    spool.clear()
    assert spool.turns == ()


def test_a_file_goes_with_its_frame(tmp_path):
    spool = Spool(tmp_path)
    for number in (1, 2):
        spool.put(make_frame("aws-1", number, VALUES))
    spool.drop(1)
    assert len(list(tmp_path.iterdir())) == 1
    spool.clear()
    assert not any(tmp_path.iterdir())


def test_without_room_on_disk_a_frame_stays_in_memory(tmp_path, caplog):
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file")  # no folder can be made there
    spool.put(frame := make_frame("aws-1", 1, VALUES))
    assert spool.get(1) is frame
    assert "stays in memory" in caplog.text


def test_a_file_that_is_lost_is_no_frame(tmp_path, caplog):
    spool = Spool(tmp_path)
    spool.put(make_frame("aws-1", 1, VALUES))
    next(tmp_path.iterdir()).write_bytes(b"less")
    assert spool.get(1) is None
    assert "is lost" in caplog.text


@pytest.mark.parametrize(("fragments", "checkpoint_rounds", "turns"), [(1, 1, 3), (1, 4, 9), (8, 1, 31), (8, 2, 47)])
def test_as_many_frames_are_kept_as_a_peer_can_be_behind(fragments, checkpoint_rounds, turns):
    assert retained_turns(fragments, checkpoint_rounds) == turns
