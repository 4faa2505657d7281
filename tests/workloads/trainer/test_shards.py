"""A site's data: dealt by the recipe alone, disjoint, and refused when there is none."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.kit.worlds import TWO_SITES, make_shards, small_recipe
from workloads.spec import disk
from workloads.spec.errors import UserError
from workloads.spec.launch import ShardLaunch, ShardManifest
from workloads.trainer.shard import make_shard
from workloads.trainer.shard_files import DOCUMENTS, read_part, token_stream, token_windows, verify_shard
from workloads.trainer.tables import load_iris_table
from workloads.trainer.texts import find_packages

THREE_SITES = ("aws-1", "aws-2", "os-1")


@pytest.mark.parametrize("sites", [("aws-1",), TWO_SITES, THREE_SITES])
def test_every_row_of_iris_is_at_exactly_one_site(tmp_path, sites):
    shards = make_shards(small_recipe("iris"), tmp_path, sites)
    rows = Counter(
        int(row) for shard in shards.values() for part in ("train", "held_out") for row in read_part(shard, part)["row"]
    )
    assert rows == dict.fromkeys(range(150), 1)


def test_rows_keep_their_measurements_and_labels(tmp_path):
    table = load_iris_table()
    for shard in make_shards(small_recipe("iris"), tmp_path, TWO_SITES).values():
        part = read_part(shard, "train")
        np.testing.assert_array_equal(part["features"], table.features[part["row"]])
        np.testing.assert_array_equal(part["labels"], table.labels[part["row"]])


def test_a_fifth_of_iris_is_held_out_and_the_rest_is_ten_stratified_subsets(tmp_path):
    shards = make_shards(small_recipe("iris"), tmp_path, TWO_SITES)
    held_out = np.concatenate([read_part(shard, "held_out")["labels"] for shard in shards.values()])
    assert np.bincount(held_out).tolist() == [10, 10, 10]
    for shard in shards.values():
        part = read_part(shard, "train")
        assert len(np.unique(part["subset"])) == 5
        for subset in np.unique(part["subset"]):
            assert np.bincount(part["labels"][part["subset"] == subset]).tolist() == [4, 4, 4]


def test_no_package_of_the_standard_library_is_in_two_places(tmp_path):
    places = Counter()
    for shard in make_shards(small_recipe("language"), tmp_path, TWO_SITES).values():
        for documents in json.loads((shard / DOCUMENTS).read_text()).values():
            places.update({document.split("/")[0].removesuffix(".py") for document in documents})
    assert len(places) > 20
    assert set(places.values()) == {1}


def test_text_is_whole_documents_between_marks(tmp_path):
    (shard,) = make_shards(small_recipe("language"), tmp_path, ("aws-1",)).values()
    part = read_part(shard, "held_out")
    documents = [
        bytes(part["text"][start:end]) for start, end in zip(part["boundaries"], part["boundaries"][1:], strict=False)
    ]
    tokens = token_stream(part).tolist()
    assert tokens == [token for document in documents for token in (256, *document, 257)]
    assert all(compile(document, "document", "exec") for document in documents)


def test_windows_overlap_by_the_token_that_is_only_a_target(tmp_path):
    (shard,) = make_shards(small_recipe("language"), tmp_path, ("aws-1",)).values()
    part = read_part(shard, "train")
    windows = token_windows(part, 32)
    np.testing.assert_array_equal(windows[:-1, -1], windows[1:, 0])
    np.testing.assert_array_equal(windows[:, :-1].ravel(), token_stream(part)[: windows[:, :-1].size])


@pytest.mark.parametrize("name", ["iris", "language"])
def test_the_deal_follows_from_the_seed(tmp_path, name):
    digests = []
    for attempt, seed in enumerate([1, 1, 2]):
        shards = make_shards(small_recipe(name, {"data.seed": seed}), tmp_path / str(attempt), TWO_SITES)
        digests.append((shards["aws-1"] / "manifest.json").read_text())
    assert digests[0] == digests[1] != digests[2]


def test_tests_and_generated_tables_are_left_out_of_the_text(tmp_path):
    for name in (
        "abc.py",
        "json/decoder.py",
        "test/test_abc.py",
        "unittest/test/case.py",
        "_sysconfigdata_x.py",
        "empty.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.py" else "x = 1\n")
    assert find_packages(tmp_path) == {"abc": {"abc.py": 6}, "json": {"json/decoder.py": 6}}


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("iris", {"data.subsets": 3}, "data.subsets 3 .* at least 4"),
        ("iris", {"data.subsets": 50}, "50 parts .* 40 rows"),
        ("iris", {"data.held_out": 0.001}, "data.held_out 0.001 of 150 rows"),
        ("language", {"data.max_bytes_per_site": 100}, "site '.*' would get no .* raise data.max_bytes_per_site"),
    ],
)
def test_a_site_that_would_get_no_data_is_refused(tmp_path, name, overrides, words):
    with pytest.raises(UserError, match=words):
        make_shards(small_recipe(name, overrides), tmp_path, TWO_SITES)


def test_an_unknown_site_is_refused(tmp_path):
    with pytest.raises(UserError, match="'nowhere' is not one of aws-1, os-1"):
        make_shard(ShardLaunch(recipe=small_recipe("iris"), site="nowhere", sites=TWO_SITES, folder=tmp_path))


def test_a_full_disk_is_said_before_anything_is_replaced(tmp_path, monkeypatch):
    shard = make_shards(small_recipe("iris"), tmp_path, TWO_SITES)["aws-1"]
    before = (shard / "manifest.json").read_text()
    monkeypatch.setattr(disk, "RESERVE_BYTES", 1 << 62)
    with pytest.raises(UserError, match="MiB are free; make room"):
        make_shards(small_recipe("iris", {"data.seed": 99}), tmp_path, TWO_SITES)
    verify_shard(shard, data_digest(shard))
    assert (shard / "manifest.json").read_text() == before


def test_data_that_is_missing_changed_or_of_another_run_is_refused(tmp_path):
    shard = make_shards(small_recipe("iris"), tmp_path, TWO_SITES)["aws-1"]
    digest = data_digest(shard)
    with pytest.raises(UserError, match="has no data"):
        verify_shard(tmp_path / "nowhere", digest)
    with pytest.raises(UserError, match="is not the 000000000000"):
        verify_shard(shard, "0" * 64)
    with (shard / "train.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(UserError, match=r"train\.safetensors is missing or was changed"):
        verify_shard(shard, digest)


def data_digest(shard: Path) -> str:
    return ShardManifest.load(shard / "manifest.json").data_digest
