"""Data of every kind: read where it lies, dealt once, the same each time, and refused in one line."""

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.kit.ports import free_ports
from workloads.spec.errors import UserError
from workloads.spec.launch import ShardLaunch, ShardManifest
from workloads.spec.recipe import Recipe
from workloads.trainer.data import open_data
from workloads.trainer.shard import make_shard
from workloads.trainer.shard_files import read_part, token_sizes, token_stream

SITES = ("aws-1", "os-1")
CLASSES = {"text": "bits_per_byte"}
MODELS: dict[str, dict[str, Any]] = {
    "table": {"kind": "mlp", "inputs": 2, "hidden": 3, "classes": 2},
    "text": {"kind": "transformers", "auto": "causal-lm", "config": {"model_type": "llama", "vocab_size": 290}},
    "labelled-text": {"kind": "transformers", "auto": "sequence-classification", "config": {"num_labels": 2}},
}
DATA: dict[str, dict[str, Any]] = {
    "table": {"subsets": 4, "target": "kind"},
    "text": {"context": 8, "max_bytes_per_site": 10_000},
    "labelled-text": {"context": 12},
}


def recipe_for(kind: str, source: str, **changes: Any) -> Recipe:
    model, data = MODELS[kind], {"kind": kind, "source": source, "held_out": 0.25, **DATA[kind]}
    return Recipe.model_validate(
        {
            "name": "small",
            "description": "A small model.",
            "model": model,
            "data": data | changes,
            "train": {"epochs": 1, "steps_per_epoch": 4, "inner": {"lr": 0.001, "batch": 4, "steps": 2}},
            "compress": {"gate": {"metric": CLASSES.get(kind, "accuracy"), "bound": 0.5, "max_relative_loss": 0.1}},
        }
    )


def shard(recipe: Recipe, folder: Path, site: str = "aws-1", sites: tuple[str, ...] = SITES) -> ShardManifest:
    return make_shard(ShardLaunch(recipe=recipe, site=site, sites=sites, folder=folder / site))


def table_text(rows: int, shift: float = 0.0) -> str:
    lines = [f"{row + shift},{row % 7},{'rare' if row % 4 == 0 else 'common'}" for row in range(rows)]
    return "\n".join(["width,height,kind", *lines]) + "\n"


def write_table(path: Path, rows: int = 48, shift: float = 0.0) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "table.csv").write_text(table_text(rows, shift))
    return path


def test_a_table_that_all_sites_see_is_dealt_to_them_once(tmp_path: Path) -> None:
    recipe = recipe_for("table", f"file://{write_table(tmp_path / 'source')}")

    manifests = {site: shard(recipe, tmp_path, site) for site in SITES}

    parts = [read_part(tmp_path / site, part) for site in SITES for part in ("train", "held_out")]
    rows = Counter(int(row) for part in parts for row in part["row"])
    assert rows == dict.fromkeys(range(48), 1)
    for part in parts:
        np.testing.assert_array_equal(part["features"][:, 0], part["row"])
        np.testing.assert_array_equal(part["labels"], np.where(part["row"] % 4 == 0, 1, 0))
    assert json.loads((tmp_path / "aws-1" / "labels.json").read_text()) == {
        "features": ["width", "height"],
        "classes": ["common", "rare"],
    }
    assert sum(sum(manifest.class_counts) for manifest in manifests.values()) == 36


def test_a_site_with_an_address_of_its_own_keeps_all_that_lies_there(tmp_path: Path) -> None:
    for site, rows in zip(SITES, (24, 96), strict=True):
        write_table(tmp_path / "source" / site, rows, shift=0.5 * rows)
    recipe = recipe_for("table", f"{tmp_path}/source/{{site}}", classes=["common", "rare"])

    manifests = {site: shard(recipe, tmp_path / "shards", site) for site in SITES}

    assert [(one.samples, one.held_out_samples) for one in manifests.values()] == [(18, 6), (72, 24)]
    for site, rows in zip(SITES, (24, 96), strict=True):
        features = [read_part(tmp_path / "shards" / site, part)["features"] for part in ("train", "held_out")]
        assert sorted(np.concatenate(features)[:, 0]) == [row + 0.5 * rows for row in range(rows)]


def test_classes_of_addresses_that_sites_have_for_themselves_must_be_named(tmp_path: Path) -> None:
    write_table(tmp_path / "aws-1")

    with pytest.raises(UserError, match=r"cannot see the others' classes.*data\.classes.*common, rare"):
        shard(recipe_for("table", f"{tmp_path}/{{site}}"), tmp_path / "shards")
    with pytest.raises(UserError, match=r"class 'rare' is not one of data\.classes \(common, odd\)"):
        shard(recipe_for("table", f"{tmp_path}/{{site}}", classes=["common", "odd"]), tmp_path / "shards")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_same_rows_are_the_same_data_whatever_the_format(tmp_path: Path, suffix: str) -> None:
    source = write_table(tmp_path / "source")
    expected = shard(recipe_for("table", str(source)), tmp_path / "expected")
    other = tmp_path / "other"
    other.mkdir()
    frame = pytest.importorskip("pandas").read_csv(source / "table.csv")
    write = {".csv": frame.to_csv, ".parquet": frame.to_parquet}
    if suffix == ".jsonl":
        frame.to_json(other / "table.jsonl", orient="records", lines=True)
    else:
        write[suffix](other / f"table{suffix}", index=False)

    assert shard(recipe_for("table", str(other)), tmp_path / "found") == expected


def test_no_copy_and_no_cache_stays_behind(tmp_path: Path) -> None:
    source = write_table(tmp_path / "source")

    shard(recipe_for("table", str(source)), tmp_path / "shards")

    assert {path.name for path in (tmp_path / "shards" / "aws-1").iterdir()} == {
        "manifest.json", "labels.json", "train.safetensors", "held_out.safetensors",
    }  # fmt: skip
    assert [path.name for path in source.iterdir()] == ["table.csv"]


def test_nothing_is_asked_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    shard(recipe_for("table", str(write_table(tmp_path / "source"))), tmp_path / "shards")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    (port,) = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    yield "s3://flowers"
    server.stop()


def test_data_in_object_storage_is_read_from_there(tmp_path: Path, bucket: str) -> None:
    """From an S3 server on loopback."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="flowers")
    client.put_object(Bucket="flowers", Key="aws-1/table.csv", Body=table_text(48).encode())
    client.close()
    recipe = recipe_for("table", f"{bucket}/{{site}}", classes=["common", "rare"])

    found = shard(recipe, tmp_path / "shards")

    write_table(tmp_path / "local" / "aws-1")
    local = recipe_for("table", f"{tmp_path}/local/{{site}}", classes=["common", "rare"])
    assert found == shard(local, tmp_path / "expected")
    with pytest.raises(UserError, match=r"s3://flowers/os-1: no \.csv .* put data there"):
        shard(recipe, tmp_path / "shards", "os-1")
    with pytest.raises(UserError, match=r"s3://no-such-bucket/aws-1: no \.csv"):
        shard(recipe_for("table", "s3://no-such-bucket/{site}", classes=["common", "rare"]), tmp_path / "shards")


def test_text_files_and_lines_of_json_are_documents(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for number in range(12):
        files.pipe(f"/texts/{number}.txt", f"document {number} ".encode() * 20)
    files.pipe("/texts/more.jsonl", b"\n".join(json.dumps({"text": f"line {n} " * 9}).encode() for n in range(6)))
    recipe = recipe_for("text", "memory://texts")

    for site in SITES:
        shard(recipe, tmp_path, site)

    found = Counter(
        name
        for site in SITES
        for names in json.loads((tmp_path / site / "documents.json").read_text()).values()
        for name in names
    )
    assert set(found.values()) == {1}
    assert len(found) > 12
    files.rm("/texts", recursive=True)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A byte-level BPE with marks, learned from a few words."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, show_progress=False, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet
    )
    made.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 5], trainer)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    return folder


def test_a_tokenizer_of_ones_own_counts_the_same_bytes(tmp_path: Path, tokenizer: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.txt").write_text(f"the quick fox {number} … jumps </s> over\n" * 9)
    recipe = recipe_for("text", str(source), tokenizer=str(tokenizer))

    manifest = shard(recipe, tmp_path / "shards", sites=("aws-1",))

    part = read_part(tmp_path / "shards" / "aws-1", "train")
    tokens = token_stream(part)
    assert int(token_sizes(part)[tokens].sum()) == manifest.samples
    assert tokens[0] == 0
    assert (tokens == 1).sum() == (tokens == 0).sum()  # the mark's name in the text is text
    assert len(tokens) < manifest.samples / 2
    inputs, targets = open_data(recipe, tmp_path / "shards" / "aws-1").batch(0, 0, 3)
    assert (inputs.shape, inputs.dtype, targets.dtype) == ((3, 8), np.int64, np.int64)
    assert (tmp_path / "shards" / "aws-1" / "tokenizer.json").exists()


def test_a_model_that_knows_fewer_tokens_than_the_tokenizer_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.txt").write_text("the quick fox\n" * 9)
    recipe = recipe_for("text", str(source), tokenizer=str(tokenizer))
    model = recipe.model.model_copy(update={"config": {"model_type": "llama", "vocab_size": 280}})

    with pytest.raises(UserError, match=r"model\.config\.vocab_size 280 is less than the 290 tokens"):
        shard(recipe.model_copy(update={"model": model}), tmp_path / "shards", sites=("aws-1",))


def labelled_texts(folder: Path) -> Path:
    folder.mkdir()
    lines = [json.dumps({"text": f"{'good' if row % 2 else 'bad'} thing {row}", "label": row % 2}) for row in range(40)]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_labelled_texts_are_ids_of_one_length(tmp_path: Path) -> None:
    recipe = recipe_for("labelled-text", str(labelled_texts(tmp_path / "source")))

    for site in SITES:
        shard(recipe, tmp_path, site)

    inputs, labels = open_data(recipe, tmp_path / "aws-1").batch(0, 0, 6)
    assert (inputs.shape, inputs.dtype, labels.dtype) == ((6, 12), np.int64, np.int64)
    for row, label in zip(inputs, labels, strict=True):
        text = bytes(row[(row != 256) & (row != 257)].astype(np.uint8)).decode()
        assert row[0] == 256
        assert text.startswith(("bad", "good")[label])
    texts = [
        tuple(row) for s in SITES for part in ("train", "held_out") for row in read_part(tmp_path / s, part)["ids"]
    ]
    assert len(texts) == 40


@pytest.mark.parametrize("kind", ["table", "labelled-text"])
def test_the_order_of_samples_follows_from_seed_and_position_alone(tmp_path: Path, kind: str) -> None:
    source = write_table(tmp_path / "source") if kind == "table" else labelled_texts(tmp_path / "source")
    recipe = recipe_for(kind, str(source))
    shard(recipe, tmp_path)
    data, again = (open_data(recipe, tmp_path / "aws-1") for _ in range(2))

    whole = data.batch(0, 0, 40)
    parts = [again.batch(0, position, 8) for position in (32, 0, 16, 24, 8)]

    for side in (0, 1):
        joined = np.concatenate([parts[place][side] for place in (1, 4, 2, 3, 0)])
        np.testing.assert_array_equal(joined, whole[side])
    labels = np.concatenate([batch for _, batch in data.validation(0)])
    assert 0 < len(labels) <= 64


def broken(folder: Path, name: str, content: str | None) -> Path:
    folder.mkdir()
    if content is None:
        (folder / name).symlink_to(name)  # to itself, so that it cannot be opened
    else:
        (folder / name).write_text(content)
    return folder


REFUSALS = [
    ("table", "table.txt", "no table", {}, "no .csv .jsonl .json .parquet files are there"),
    ("table", "table.csv", None, {}, "not readable as csv"),
    ("table", "table.csv", table_text(48), {"target": None}, "name it in data.target"),
    ("table", "table.csv", table_text(48), {"target": "colour"}, "no column 'colour'; data.target can be width"),
    ("table", "table.csv", table_text(48).replace("7.0,0", "seven,0"), {}, "column 'width' is not all numbers"),
    ("table", "table.csv", table_text(48).replace("7.0,0", ",0"), {}, "column 'width' has no finite number in row 8"),
    ("table", "table.csv", table_text(48).replace(",3,", ",3,odd "), {}, r"has 4 classes .* the model 2; set model"),
    ("table", "table.parquet", "no parquet", {}, "not readable as parquet"),
    ("text", "a.txt", None, {}, "cannot be read"),
    ("text", "a.jsonl", '{"words": "a"}\n', {}, "no column 'text', but words"),
    ("labelled-text", "a.csv", "text,label\na,\n,b\n", {}, "row 2 has None for 'text'"),
    ("labelled-text", "a.csv", "words,label\na,b\n", {}, "no column 'text'; data.text can be words, label"),
]


@pytest.mark.parametrize(("kind", "name", "content", "changes", "words"), REFUSALS)
def test_data_that_cannot_be_learned_from_is_refused_in_one_line(
    tmp_path: Path, kind: str, name: str, content: str | None, changes: dict[str, Any], words: str
) -> None:
    recipe = recipe_for(kind, str(broken(tmp_path / "source", name, content)), **changes)

    with pytest.raises(UserError, match=words) as refused:
        shard(recipe, tmp_path / "shards")
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "shards" / "aws-1").iterdir()) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("roses", "data.source 'roses' is unknown; choose of iris, credit-cards, or give an address"),
        ("file:///nowhere/at/all", "no .csv .jsonl .json .parquet files are there"),
        ("carrier-pigeon://here", "Protocol not known: carrier-pigeon; use file://"),
    ],
)
def test_a_source_that_is_not_there_is_refused(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        shard(recipe_for("table", source), tmp_path / "shards")


def test_credit_card_applications_hold_nothing_that_is_known_afterwards(tmp_path: Path) -> None:
    recipe = recipe_for("table", "credit-cards", target=None)
    model = recipe.model.model_copy(update={"inputs": 9})

    manifests = [shard(recipe.model_copy(update={"model": model}), tmp_path, site) for site in SITES]

    labels = json.loads((tmp_path / "aws-1" / "labels.json").read_text())
    assert labels["classes"] == ["granted", "refused"]
    assert not {"share", "expenditure"} & set(labels["features"])
    counts = np.sum([manifest.class_counts for manifest in manifests], axis=0)
    held_out = np.concatenate([read_part(tmp_path / site, "held_out")["labels"] for site in SITES])
    assert (counts + np.bincount(held_out)).tolist() == [1023, 296]
    with pytest.raises(UserError, match=r"model\.inputs 2 does not fit credit-cards, whose rows have 9 features"):
        shard(recipe, tmp_path)
