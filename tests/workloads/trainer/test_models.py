"""Models of every kind by configuration, with random weights or with those that lie in a folder or at an address."""

import socket
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from workloads.compression.example import graph_input
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe
from workloads.trainer.model import WEIGHTS, build_model, load_model, logits, save_model
from workloads.trainer.shard_files import LABELS

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
POSITIONS = {"vocab_size": 258, "max_position_embeddings": 24}
CONVOLUTIONS = {
    "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 4], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8,
}  # fmt: skip
TEXT = {"kind": "text", "source": "python-stdlib", "context": 16, "held_out": 0.1, "max_bytes_per_site": 9999}
TEXTS = {"kind": "labelled-text", "source": "/texts", "context": 20, "held_out": 0.2, "classes": ["a", "b", "c"]}
PICTURES = {"kind": "images", "source": "digits", "size": 8, "channels": 1, "held_out": 0.2}
SOUNDS = {"kind": "audio", "source": "spoken-digits", "rate_hz": 1000, "seconds": 1.0, "held_out": 0.2}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "llama": ("causal-lm", {**SMALL, **POSITIONS, "num_key_value_heads": 2}, TEXT, 258),
    "gpt2": ("causal-lm", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24, "vocab_size": 258}, TEXT, 258),
    "qwen2": ("causal-lm", {**SMALL, **POSITIONS, "num_key_value_heads": 1}, TEXT, 258),
    "bert": ("sequence-classification", SMALL | POSITIONS, TEXTS, 3),
    "distilbert": ("sequence-classification", {"dim": 16, "hidden_dim": 24, "n_layers": 1, "n_heads": 2, **POSITIONS}, TEXTS, 3),
    "vit": ("image-classification", {**SMALL, "image_size": 8, "patch_size": 4, "num_channels": 1}, PICTURES, 10),
    "resnet": ("image-classification", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_channels": 1, "layer_type": "basic"}, PICTURES, 10),
    "wav2vec2": ("audio-classification", SMALL | CONVOLUTIONS, SOUNDS, 10),
    "hubert": ("audio-classification", SMALL | CONVOLUTIONS, SOUNDS, 10),
}  # fmt: skip


def recipe_of(auto: str, config: dict[str, Any], data: dict[str, Any], weights: str | None = None) -> Recipe:
    metric = "bits_per_byte" if auto == "causal-lm" else "accuracy"
    return Recipe.model_validate(
        {
            "name": "small",
            "description": "A small model.",
            "model": {"kind": "transformers", "auto": auto, "config": config, "weights": weights},
            "data": data,
            "train": {"epochs": 1, "steps_per_epoch": 1, "inner": {"lr": 0.001, "batch": 4, "steps": 1}},
            "compress": {"gate": {"metric": metric, "bound": 0.5, "max_relative_loss": 0.1}},
        }
    )


def small(kind: str, weights: str | None = None, **changes: Any) -> Recipe:
    auto, config, data, _ = KINDS[kind]
    return recipe_of(auto, {"model_type": kind, **config, **changes}, data, weights)


def saved(recipe: Recipe, folder: Path, seed: int = 1) -> torch.nn.Module:
    """A model of `recipe`, which is also written to `folder`."""
    shard = folder.parent / f"{folder.name}-shard"
    shard.mkdir()
    (shard / LABELS).write_text('{"classes": []}')
    torch.manual_seed(seed)
    model = build_model(recipe)
    folder.mkdir()
    save_model(model, recipe, folder, shard)
    return model.eval()


@pytest.fixture(autouse=True)
def nothing_is_asked_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_any_kind_is_built_saved_and_loaded_again(kind: str, tmp_path: Path) -> None:
    recipe = small(kind)

    model = saved(recipe, tmp_path / "model")
    again, its_recipe = load_model(tmp_path / "model")

    inputs = graph_input(recipe).example
    with torch.no_grad():
        answer = logits(model, inputs)
        assert answer.shape[-1] == KINDS[kind][3]
        torch.testing.assert_close(logits(again, inputs), answer)
    assert its_recipe == recipe
    assert not again.training
    assert build_model(recipe).training


def test_weights_follow_from_the_seed_alone() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(build_model(small("vit")).state_dict())

    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not all(torch.equal(models[0][name], models[2][name]) for name in models[0])


@pytest.mark.parametrize("address", ["folder", "memory"])
@pytest.mark.parametrize("kind", ["llama", "wav2vec2"])
def test_training_begins_with_the_weights_that_a_recipe_names(kind: str, address: str, tmp_path: Path) -> None:
    source = saved(small(kind), tmp_path / "pretrained")
    place = str(tmp_path / "pretrained")
    if address == "memory":
        place = f"memory://pretrained/{kind}"
        fsspec.filesystem("memory").put(f"{tmp_path}/pretrained/", f"/pretrained/{kind}/", recursive=True)
    auto, _, data, _ = KINDS[kind]
    torch.manual_seed(9)

    model = build_model(recipe_of(auto, {}, data, place))

    assert model.training
    assert {name: (tensor.dtype, True) for name, tensor in source.state_dict().items()} == {
        name: (torch.float32, torch.equal(tensor, source.state_dict()[name]))
        for name, tensor in model.state_dict().items()
    }


def test_a_classifier_of_other_classes_gets_a_new_head_and_keeps_the_rest(tmp_path: Path) -> None:
    saved(small("vit"), tmp_path / "pretrained")
    auto, _, data, _ = KINDS["vit"]
    named = data | {"source": "/pictures", "classes": ["cat", "dog"]}

    model = build_model(recipe_of(auto, {}, named, str(tmp_path / "pretrained")))

    before, after = load_model(tmp_path / "pretrained")[0].state_dict(), model.state_dict()
    assert after["classifier.weight"].shape == (2, 16)
    kept = [name for name in before if not name.startswith("classifier")]
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_what_a_text_is_filled_up_with_is_not_read() -> None:
    torch.manual_seed(1)
    model = build_model(small("bert")).eval()
    text = torch.tensor([[256, 104, 105]])
    filled = torch.cat([text, torch.full((1, 9), 257)], dim=1)

    with torch.no_grad():
        torch.testing.assert_close(logits(model, filled), logits(model, text))


def write_pickle(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("llama", {"model_type": "lama"}, "model.config of kind 'lama'"),
        ("llama", {"model_type": "vit"}, "of kind 'vit', as causal-lm"),
        ("llama", {"vocab_size": 200}, "vocab_size 200 is less than the 258 byte-level tokens; raise it"),
        (
            "llama",
            {"max_position_embeddings": 8},
            "data.context 16 is more than model.config.max_position_embeddings 8",
        ),
        ("llama", {"num_attention_heads": 3}, "model.config of kind 'llama'"),
        ("llama", {"hidden_size": "wide"}, "model.config of kind 'llama'"),
        ("bert", {"max_position_embeddings": 8}, "data.context 20 is more than"),
        ("bert", {"num_labels": 2}, "model.config.num_labels is 2, and the data has 3 classes; set it to 3"),
        ("vit", {"image_size": 16}, "data.size 8 is not model.config.image_size 16; set both to the same"),
        ("vit", {"num_channels": 3}, "data.channels 1 is not model.config.num_channels 3"),
        ("vit", {"patch_size": 3}, "data.size 8 does not divide into patches of model.config.patch_size 3"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_one_line(kind: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        build_model(small(kind, **changes))
    assert "\n" not in str(refused.value)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    write_pickle(tmp_path / "pickled")

    with pytest.raises(UserError, match=r"pytorch_model\.bin is pickled, which may run anything.*save_pretrained"):
        build_model(small("llama", str(tmp_path / "pickled")))


def test_weights_that_are_not_there_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    saved(small("vit"), tmp_path / "pretrained")

    with pytest.raises(UserError, match=r"/nowhere: no config\.json .* are there"):
        build_model(small("llama", str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="model_type 'llama' is not the weights' 'vit'; leave it out"):
        build_model(small("llama", str(tmp_path / "pretrained")))
    (tmp_path / "pretrained" / WEIGHTS).write_bytes(b"torn")
    auto, _, data, _ = KINDS["vit"]
    with pytest.raises(UserError, match="weights .*pretrained of kind 'vit'"):
        build_model(recipe_of(auto, {}, data, str(tmp_path / "pretrained")))


def test_a_recipe_that_does_not_say_how_many_classes_there_are_is_refused() -> None:
    auto, config, data, _ = KINDS["vit"]

    with pytest.raises(UserError, match=r"set model\.config\.num_labels, or name them in data\.classes"):
        build_model(recipe_of(auto, {"model_type": "vit", **config}, data | {"source": "/pictures"}))
