"""Pictures: digits that come with the product, and folders with one folder a class."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from workloads.spec.errors import UserError
from workloads.spec.launch import ShardLaunch, ShardManifest
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer.data import open_data
from workloads.trainer.shard import make_shard
from workloads.trainer.shard_files import read_part

SITES = ("aws-1", "os-1", "os-2")
COLOURS = {"green": (0, 255, 0), "red": (255, 0, 0)}


def shard(recipe: Recipe, folder: Path, site: str, sites: tuple[str, ...] = SITES) -> ShardManifest:
    return make_shard(ShardLaunch(recipe=recipe, site=site, sites=sites, folder=folder / site))


def pictures(folder: Path, counts: dict[str, int]) -> Path:
    """Pictures of one colour each, 6 x 4 pixels, no two alike."""
    for colour, count in counts.items():
        (folder / colour).mkdir(parents=True)
        for number in range(count):
            picture = Image.new("RGB", (6, 4), COLOURS[colour])
            picture.putpixel((3, 1), (number, 0, 0))
            picture.save(folder / colour / f"{number:02d}.png")
    return folder


def coloured(source: str, **changes: object) -> Recipe:
    settings = {"data.source": source, "data.channels": 3, "data.size": 4, "data.held_out": 0.25}
    model = {"num_channels": 3, "image_size": 4, "num_labels": 2}
    overrides = settings | {f"model.config.{key}": value for key, value in model.items()}
    return load_recipe("vision", overrides | {f"data.{key}": value for key, value in changes.items()})


def test_every_digit_is_at_exactly_one_site(tmp_path: Path) -> None:
    recipe = load_recipe("vision")

    manifests = [shard(recipe, tmp_path, site) for site in SITES]

    parts = [read_part(tmp_path / site, part) for site in SITES for part in ("train", "held_out")]
    found = Counter(bytes(pixels) for part in parts for pixels in part["pixels"])
    shades = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    assert found == Counter(bytes(shade) for shade in shades)
    assert sum(one.samples + one.held_out_samples for one in manifests) == 1797
    for part in parts:
        assert len(np.unique(part["labels"])) == 10


def test_the_deal_follows_from_the_seed(tmp_path: Path) -> None:
    first, same, other = (
        shard(load_recipe("vision", {"data.seed": seed}), tmp_path / str(attempt), "aws-1")
        for attempt, seed in enumerate([1, 1, 2])
    )

    assert first == same
    assert first.files != other.files


def test_a_model_is_shown_shades_from_black_to_white(tmp_path: Path) -> None:
    recipe = load_recipe("vision")
    shard(recipe, tmp_path, "aws-1")

    inputs, labels = open_data(recipe, tmp_path / "aws-1").batch(0, 0, 200)

    assert (inputs.shape, inputs.dtype, labels.dtype) == ((200, 1, 8, 8), np.float32, np.int64)
    assert (inputs.min(), inputs.max()) == (-1, 1)


def test_folders_are_classes_and_pictures_are_made_square(tmp_path: Path) -> None:
    recipe = coloured(f"file://{pictures(tmp_path / 'source', {'green': 20, 'red': 12})}")

    manifest = shard(recipe, tmp_path, "aws-1", ("aws-1",))

    assert manifest.class_counts == (15, 9)
    assert json.loads((tmp_path / "aws-1" / "labels.json").read_text()) == {"classes": ["green", "red"]}
    part = read_part(tmp_path / "aws-1", "train")
    assert part["pixels"].shape == (24, 3, 4, 4)
    for pixels, label in zip(part["pixels"], part["labels"], strict=True):
        assert tuple(pixels[:, 3, 3]) == list(COLOURS.values())[label]


def test_sites_with_folders_of_their_own_may_have_unequal_shards_and_see_none_of_the_others(tmp_path: Path) -> None:
    pictures(tmp_path / "aws-1", {"green": 8, "red": 8})
    pictures(tmp_path / "os-1", {"green": 40, "red": 8})
    recipe = coloured(f"{tmp_path}/{{site}}", classes=["red", "green"])

    counts = [shard(recipe, tmp_path / "shards", site, ("aws-1", "os-1")).class_counts for site in ("aws-1", "os-1")]

    assert counts == [(6, 6), (6, 30)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("green/bad.png", b"no picture", r"bad\.png: not a picture that can be read"),
        ("loose.png", b"", r"loose\.png is in no class's folder"),
        ("blue/one.png", b"", r"has 3 classes \(blue, green, red\), the model 2|not a picture"),
    ],
)
def test_what_is_no_labelled_picture_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    source = pictures(tmp_path / "source", {"green": 8, "red": 8})
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(content)

    with pytest.raises(UserError, match=words):
        shard(coloured(str(source)), tmp_path / "shards", "aws-1")


def test_an_empty_folder_at_one_site_is_one_clear_line(tmp_path: Path) -> None:
    pictures(tmp_path / "aws-1", {"green": 8, "red": 8})
    (tmp_path / "os-1").mkdir()
    recipe = coloured(f"{tmp_path}/{{site}}", classes=["green", "red"])

    shard(recipe, tmp_path / "shards", "aws-1", ("aws-1", "os-1"))
    with pytest.raises(UserError, match=r"/os-1: no \.png .* put data there"):
        shard(recipe, tmp_path / "shards", "os-1", ("aws-1", "os-1"))


def test_a_class_with_too_few_pictures_for_every_site_is_refused(tmp_path: Path) -> None:
    source = pictures(tmp_path / "source", {"green": 20, "red": 4})

    with pytest.raises(UserError, match="held-out parts: 3 parts cannot all have one of 1 rows of a class; use fewer"):
        shard(coloured(str(source)), tmp_path / "shards", "aws-1")
