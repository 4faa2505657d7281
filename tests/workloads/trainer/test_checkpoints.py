"""A site's durable state is whole or not used, and an older one is there when the newest is not."""

import pytest
import torch

from workloads.spec import disk
from workloads.spec.errors import UserError
from workloads.trainer.checkpoint import CheckpointStore, Progress
from workloads.trainer.state import capture, restore

TENSORS = {"parameters": torch.arange(1000.0), "outer.round": torch.tensor(3)}


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", keep=2, identity="a" * 64)
    for number in (1, 2, 3):
        store.save(Progress(round=number, step=10 * number), TENSORS)
    return store


def test_what_was_saved_comes_back(store):
    progress, tensors = store.load(3)
    assert progress == Progress(round=3, step=30)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_only_the_newest_are_kept(store):
    assert store.usable_rounds(pytest.fail) == [2, 3]


@pytest.mark.parametrize("name", ["state.safetensors", "progress.json", "manifest.json"])
def test_a_corrupt_checkpoint_is_said_and_the_previous_one_is_used(store, name):
    path = store.folder / "round-000003" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    said = []
    assert store.usable_rounds(said.append) == [2]
    (line,) = said
    assert line.startswith("checkpoint of round 3 is not used: ")
    assert "\n" not in line


@pytest.mark.parametrize("name", ["state.safetensors", "progress.json", "manifest.json"])
def test_a_checkpoint_without_one_of_its_files_is_not_used(store, name):
    (store.folder / "round-000003" / name).unlink()
    said = []
    assert store.usable_rounds(said.append) == [2]
    assert said == [f"checkpoint of round 3 is not used: {name} is missing"]


def test_a_corrupt_checkpoint_is_replaced_when_its_round_comes_again(store):
    (store.folder / "round-000003" / "state.safetensors").write_bytes(b"")
    store.save(Progress(round=3, step=30), TENSORS)
    assert store.usable_rounds(pytest.fail) == [2, 3]


def test_a_checkpoint_of_another_run_is_not_used(store):
    said = []
    assert CheckpointStore(store.folder, keep=2, identity="b" * 64).usable_rounds(said.append) == []
    assert "another recipe" in said[0]


def test_an_unfinished_write_is_no_checkpoint(store):
    (store.folder / "round-000003").rename(store.folder / ".writing")
    assert store.usable_rounds(pytest.fail) == [2]


def test_a_full_disk_is_said_and_leaves_the_older_states(store, monkeypatch):
    monkeypatch.setattr(disk, "RESERVE_BYTES", 1 << 62)
    with pytest.raises(UserError, match=r"the checkpoint of round 4 needs .* MiB are free; make room"):
        store.save(Progress(round=4), TENSORS)
    assert store.usable_rounds(pytest.fail) == [2, 3]


def test_states_after_the_round_that_training_goes_on_from_are_dropped(store):
    store.discard_after(2)
    assert store.usable_rounds(pytest.fail) == [2]


def test_a_restored_state_trains_on_bit_identically():
    device = torch.device("cpu")

    def make():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(), torch.nn.Linear(8, 1)
        )
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def train(model, optimizer):
        for _ in range(3):
            model(torch.randn(6, 4)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    model, optimizer = make()
    train(model, optimizer)
    saved = {
        k: v.clone()
        for k, v in capture(model, optimizer, torch.get_rng_state()[None], {"round": torch.tensor(1)}).items()
    }
    train(model, optimizer)
    again, its_optimizer = make()
    outer = restore(saved, again, its_optimizer, device, rank=0)
    train(again, its_optimizer)
    assert outer == {"round": torch.tensor(1)}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
