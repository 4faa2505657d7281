"""A site's durable state is whole or not used, and an older one is there when the newest is not."""

import json
from pathlib import Path

import fsspec
import pytest
import torch

from tests.kit.buckets import bucket
from workloads.spec import disk
from workloads.spec.errors import UserError
from workloads.spec.plan import Layout
from workloads.trainer.checkpoints import CheckpointStore, CheckpointWriter, Identity, Place, Progress
from workloads.trainer.checkpoints.tensor_files import load_divided, load_own
from workloads.trainer.world import World

IDENTITY = Identity(model="iris (83 parameters)", model_digest="a" * 64, training="b" * 64)
DIVIDED = {"model.hidden": torch.arange(1000.0), "optimizer.hidden.step": torch.tensor(3.0)}
OWN = {"sync.progress": torch.arange(9, dtype=torch.uint8)}
FILES = ["tensors/shard-00001-model-00001-of-00001.safetensors", "rank-00000.safetensors", "progress.json"]


def store_at(address: str, scratch: Path, identity: Identity = IDENTITY) -> CheckpointStore:
    return CheckpointStore(Place(address, scratch), keep=2, identity=identity)


def writer_of(store: CheckpointStore) -> CheckpointWriter:
    return CheckpointWriter(store, World(0, 1, torch.device("cpu")), Layout(), makes_scratch=True)


def save(store: CheckpointStore, number: int) -> str | None:
    """Save the state of round `number` and return why it was not kept, if it was not."""
    writer = writer_of(store)
    writer.start(Progress(round=number, step=10 * number), DIVIDED, OWN)
    writer.wait()
    (outcome,) = writer.outcomes()
    assert outcome.round == number
    return outcome.fault


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request, tmp_path, monkeypatch):
    """Three rounds in a folder, in an address of fsspec, and in a bucket."""
    if request.param == "s3":
        with bucket(monkeypatch) as address:
            yield filled(store_at(f"{address}/run", tmp_path))
        return
    memory = fsspec.filesystem("memory")
    address = str(tmp_path / "checkpoints") if request.param == "folder" else "memory://checkpoints"
    yield filled(store_at(address, tmp_path / "scratch"))
    if request.param == "memory":
        memory.rm("/checkpoints", recursive=True)


@pytest.fixture
def folder(tmp_path) -> CheckpointStore:
    """Three rounds in a folder."""
    return filled(store_at(str(tmp_path), tmp_path))


def filled(store: CheckpointStore) -> CheckpointStore:
    for number in (1, 2, 3):
        assert save(store, number) is None
    return store


def test_what_was_saved_comes_back(store):
    store.fetch(3)
    saved = store.open(3)
    assert saved.progress == Progress(round=3, step=30)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in DIVIDED.items()}
    load_divided(saved.folder, tensors, None)
    assert all(torch.equal(tensors[name], DIVIDED[name]) for name in DIVIDED)
    assert torch.equal(load_own(saved.folder, 0)["sync.progress"], OWN["sync.progress"])


def test_only_the_newest_are_kept(store):
    assert store.usable_rounds(pytest.fail) == [2, 3]
    assert [name for name in store.place.names() if name.startswith("round")] == ["round-000002", "round-000003"]


def test_states_after_the_round_that_training_goes_on_from_are_dropped(store):
    store.discard_after(2)
    assert store.usable_rounds(pytest.fail) == [2]


def test_nothing_of_a_checkpoint_is_pickled(folder):
    files = sorted(
        str(path.relative_to(folder.place.address + "/round-000003"))
        for path in Path(folder.place.address, "round-000003").rglob("*")
        if path.is_file()
    )
    assert files == sorted([*FILES, "manifest.json"])


def test_training_may_change_what_is_being_saved(tmp_path):
    store = store_at(str(tmp_path), tmp_path)
    writer = writer_of(store)
    tensor = torch.ones(1000)
    writer.start(Progress(round=1), {"model.hidden": tensor}, {})
    tensor.zero_()
    writer.wait()
    found = {"model.hidden": torch.zeros(1000)}
    load_divided(store.open(1).folder, found, None)
    assert torch.equal(found["model.hidden"], torch.ones(1000))


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_corrupt_checkpoint_is_said_and_the_previous_one_is_used(folder, name):
    path = Path(folder.place.address, "round-000003", name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    said: list[str] = []
    assert folder.usable_rounds(said.append) == [2]
    assert said == [f"checkpoint of round 3 is not used: {name} is corrupt"]


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_checkpoint_without_one_of_its_files_is_not_used(folder, name):
    Path(folder.place.address, "round-000003", name).unlink()
    said: list[str] = []
    assert folder.usable_rounds(said.append) == [2]
    assert said == [f"checkpoint of round 3 is not used: {name} is missing"]


def test_a_state_is_not_used_under_the_name_of_another_round(folder):
    Path(folder.place.address, "round-000003").rename(Path(folder.place.address, "round-000009"))
    said: list[str] = []
    assert folder.usable_rounds(said.append) == [2]
    assert said == ["checkpoint of round 9 is not used: progress.json is of another round"]


def test_a_corrupt_checkpoint_is_replaced_when_its_round_comes_again(folder):
    Path(folder.place.address, "round-000003", FILES[0]).write_bytes(b"")
    assert save(folder, 3) is None
    assert folder.usable_rounds(pytest.fail) == [2, 3]


def test_a_checkpoint_of_another_recipe_is_not_used(folder):
    said: list[str] = []
    other = store_at(folder.place.address, Path(), IDENTITY.model_copy(update={"training": "c" * 64}))
    assert other.usable_rounds(said.append) == []
    assert said[0] == "checkpoint of round 2 is not used: it is of another recipe, plan or set of sites"


def test_a_checkpoint_of_another_model_is_refused_and_left_alone(folder):
    theirs = Identity(model="language (3,176,448 parameters)", model_digest="d" * 64, training="e" * 64)
    with pytest.raises(
        UserError, match="is a checkpoint of iris .83 parameters., and this run trains language"
    ) as caught:
        store_at(folder.place.address, Path(), theirs).usable_rounds(pytest.fail)
    assert "\n" not in str(caught.value)
    assert folder.usable_rounds(pytest.fail) == [2, 3]


def test_a_state_whose_manifest_is_not_written_yet_is_none(store, monkeypatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Place, "reveal", die)
        writer = writer_of(store)
        with pytest.raises(KeyboardInterrupt):
            writer._try_write(Progress(round=4), DIVIDED, OWN)
    said: list[str] = []
    assert store.usable_rounds(said.append) == [2, 3]
    assert all("manifest.json is missing" in line for line in said)
    assert save(store, 4) is None
    assert store.usable_rounds(pytest.fail) == [3, 4]


@pytest.mark.parametrize("file", FILES[:1])
def test_a_disk_that_fills_is_said_and_leaves_the_older_states(folder, monkeypatch, file):
    make_scratch = Place.make_scratch

    def make_full_scratch(place: Place) -> Path:
        scratch = make_scratch(place)
        (scratch / file).parent.mkdir(exist_ok=True)
        (scratch / file).symlink_to("/dev/full")  # the kernel itself says that there is no room
        return scratch

    with monkeypatch.context() as patch:
        patch.setattr(Place, "make_scratch", make_full_scratch)
        fault = save(folder, 4)
    assert fault is not None
    assert "No space left on device" in fault
    assert "\n" not in fault
    assert folder.usable_rounds(pytest.fail) == [2, 3]
    assert folder.place.names() == ["round-000002", "round-000003"]
    assert save(folder, 4) is None


def test_room_is_asked_for_before_anything_is_written(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(disk, "RESERVE_BYTES", 1 << 62)
        fault = save(folder, 4)
    assert fault is not None
    assert "the checkpoint of round 4 needs" in fault
    assert folder.usable_rounds(pytest.fail) == [2, 3]


def test_a_store_that_is_away_costs_a_checkpoint_and_not_the_training(tmp_path, monkeypatch):
    with bucket(monkeypatch) as address:
        store = filled(store_at(f"{address}/run", tmp_path))
    fault = save(store, 4)
    assert fault is not None
    assert "\n" not in fault


def test_an_address_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"checkpoints at 'nowhere://x'.*give a folder or an address of fsspec"):
        Place("nowhere://x", tmp_path)


def test_a_change_between_the_look_and_the_fetch_is_refused(store):
    store.usable_rounds(pytest.fail)
    manifest = json.loads(store.place.read("round-000003", "manifest.json"))
    manifest["files"][FILES[1]] = "0" * 64

    def spoil(*_: object) -> bytes:
        return json.dumps(manifest).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Place, "read", spoil)
        with pytest.raises(UserError, match="was changed since the start"):
            store.fetch(3)
