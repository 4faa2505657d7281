"""Every kind of model through pruning, export and int8: the graph answers as the pruned model does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

from workloads.compression.caching import past_example
from workloads.compression.example import graph_input, text_facts
from workloads.compression.export import export_onnx, quantise
from workloads.compression.feed_forward import feed_forwards
from workloads.compression.pruning import prune
from workloads.inference.session import GRAPH, Reader, open_session, predictor
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer.model import logits

AUTO = {
    "causal-lm": AutoModelForCausalLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "image-classification": AutoModelForImageClassification,
    "audio-classification": AutoModelForAudioClassification,
}
SMALL = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = {"vocab_size": 258, "max_position_embeddings": 24}
CONVOLUTIONS = {
    "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 4], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8, "num_labels": 4,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[int, ...]]] = {
    "bert": (
        "sequence-classification",
        {"model_type": "bert", **SMALL, **TOKENS, "num_labels": 3},
        {"kind": "labelled-text", "source": "file:///texts.csv", "context": 20, "held_out": 0.2},
        (5, 20),
    ),
    "vit": (
        "image-classification",
        {"model_type": "vit", **SMALL, "image_size": 8, "patch_size": 4, "num_channels": 3, "num_labels": 4},
        {"kind": "images", "source": "file:///pictures", "size": 8, "channels": 3, "held_out": 0.2},
        (5, 3, 8, 8),
    ),
    "wav2vec2": (
        "audio-classification",
        {"model_type": "wav2vec2", **SMALL, **CONVOLUTIONS},
        {"kind": "audio", "source": "file:///recordings", "rate_hz": 1000, "seconds": 1.0, "held_out": 0.2},
        (5, 1000),
    ),
}  # fmt: skip


def recipe_of(auto: str, config: dict[str, Any], data: dict[str, Any]) -> Recipe:
    metric = "bits_per_byte" if auto == "causal-lm" else "accuracy"
    return Recipe.model_validate(
        {
            "name": "small",
            "description": "A small model.",
            "model": {"kind": "transformers", "auto": auto, "config": config},
            "data": data,
            "train": {"epochs": 1, "steps_per_epoch": 1, "inner": {"lr": 0.001, "batch": 4, "steps": 1}},
            "compress": {"gate": {"metric": metric, "bound": 0.5, "max_relative_loss": 0.1}},
        }
    )


def model_of(recipe: Recipe) -> nn.Module:
    torch.manual_seed(1)
    config = AutoConfig.for_model(**recipe.model.config)
    return AUTO[recipe.model.auto].from_config(config).eval()


def language_model(config: dict[str, Any]) -> tuple[nn.Module, Recipe]:
    data = {"kind": "text", "source": "python-stdlib", "context": 16, "held_out": 0.1, "max_bytes_per_site": 9999}
    recipe = recipe_of("causal-lm", config | {"vocab_size": 258}, data)
    return model_of(recipe), recipe


def inputs_like(example: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    source = torch.Generator().manual_seed(2)
    if example.dtype == torch.int64:
        return torch.randint(0, 256, shape, generator=source)
    return torch.randn(shape, generator=source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_model_answers_as_the_pruned_one(kind: str, tmp_path: Path) -> None:
    auto, config, data, shape = KINDS[kind]
    recipe = recipe_of(auto, config, data)
    model = model_of(recipe)
    before = sum(parameter.numel() for parameter in model.parameters())
    prune(model, recipe, 0.4)
    after = sum(parameter.numel() for parameter in model.parameters())
    inputs = inputs_like(graph_input(recipe).example, shape)
    with torch.no_grad():
        expected = logits(model, inputs).numpy()

    export_onnx(model, recipe, tmp_path / "wide.onnx")
    quantise(tmp_path / "wide.onnx", tmp_path / GRAPH, text_facts(model, recipe))

    assert before - after == 2 * 16 * (16 + 1 + 16)  # of 40 units 24 stay, in each of two layers
    wide = predictor(open_session(tmp_path / "wide.onnx", threads=1))(inputs.numpy())
    np.testing.assert_allclose(wide, expected, atol=1e-5)
    session = open_session(tmp_path / GRAPH, threads=1)
    assert session.get_inputs()[0].name == graph_input(recipe).name
    assert session.get_outputs()[0].shape == ["batch", expected.shape[-1]]
    scale = abs(expected).max()
    assert abs(predictor(session)(inputs.numpy()) - expected).max() < 0.1 * scale
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == ({"context": "20", "vocabulary": "258"} if kind == "bert" else {})
    single = predictor(session)(inputs[:1].numpy())
    assert abs(single - expected[:1]).max() < 0.1 * scale


class Standardised(nn.Module):
    """A two-layer network over raw features of very different sizes, which a fixed first layer makes alike."""

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.hidden = nn.Linear(4, 10)
        self.output = nn.Linear(10, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.output(torch.relu(self.hidden((features - self.mean) / self.scale)))


def test_a_table_of_raw_features_keeps_its_fixed_first_layer(tmp_path: Path) -> None:
    torch.manual_seed(1)
    mean, scale = torch.tensor([5e4, 0.1, 40.0, 3.0]), torch.tensor([2e4, 0.05, 12.0, 1.0])
    recipe, model = load_recipe("iris"), Standardised(mean, scale).eval()
    prune(model, recipe, 0.2)
    features = mean + scale * torch.randn(50, 4)
    with torch.no_grad():
        expected = model(features).numpy()

    export_onnx(model, recipe, tmp_path / "wide.onnx")
    quantise(tmp_path / "wide.onnx", tmp_path / GRAPH)

    assert model.hidden.weight.shape == (8, 4)
    answers = predictor(open_session(tmp_path / GRAPH, threads=1))(features.numpy())
    assert abs(answers - expected).max() < 0.05 * abs(expected).max()


@pytest.mark.parametrize("heads", [2, 1])
def test_a_text_read_in_parts_continues_as_one_read_whole(heads: int, tmp_path: Path) -> None:
    """With as many heads of keys as of queries, and with fewer."""
    settings = SMALL | TOKENS | {"num_key_value_heads": heads}
    model, recipe = language_model({"model_type": "llama", **settings})
    export_onnx(model, recipe, tmp_path / GRAPH)
    session = open_session(tmp_path / GRAPH, threads=1)
    tokens = inputs_like(torch.zeros(0, dtype=torch.int64), (1, 20))
    with torch.no_grad():
        whole = logits(model, tokens)[0].numpy()
    ids = tokens[0].tolist()

    reader = Reader(session)
    told = [reader.read(ids[:7])] + [reader.read([token]) for token in ids[7:19]] + [reader.read(ids[19:])]

    np.testing.assert_allclose(told, whole[6:], atol=1e-5)
    np.testing.assert_allclose(predictor(session)(tokens.numpy())[0], whole, atol=1e-5)
    other = Reader(session)
    np.testing.assert_allclose(other.read(ids[:1]), whole[0], atol=1e-5)  # readers do not share what they read


def test_a_model_that_keeps_no_plain_cache_reads_the_whole_text_again(tmp_path: Path) -> None:
    """Layers that see a window of 4 tokens forget the rest, which the graph's cache could not."""
    windowed = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    model, recipe = language_model({"model_type": "qwen2", **SMALL, **TOKENS, "num_key_value_heads": 2, **windowed})

    assert past_example(model, recipe, graph_input(recipe).example) == []
    export_onnx(model, recipe, tmp_path / GRAPH)

    tokens = inputs_like(torch.zeros(0, dtype=torch.int64), (1, 12))
    reader = Reader(open_session(tmp_path / GRAPH, threads=1))
    told = [reader.read(tokens[0, :9].tolist()), *(reader.read([token]) for token in tokens[0, 9:].tolist())]
    with torch.no_grad():
        np.testing.assert_allclose(told, logits(model, tokens)[0, 8:].numpy(), atol=1e-5)


def test_pruned_units_are_the_weakest_and_the_rest_is_untouched() -> None:
    """Units that add nothing can go without a trace: the model answers as before."""
    auto, config, data, shape = KINDS["vit"]
    recipe = recipe_of(auto, config, data)
    model = model_of(recipe)
    for pair in feed_forwards(model):
        for layer in (*pair.expanding, pair.contracting):
            nn.init.normal_(layer.weight)
        with torch.no_grad():
            pair.expanding[0].weight[3:19] *= 1e-6
            pair.expanding[0].bias[3:19] = 0
            pair.contracting.weight[:, 3:19] *= 1e-6
    inputs = inputs_like(graph_input(recipe).example, shape)
    with torch.no_grad():
        before = logits(model, inputs)

        prune(model, recipe, 0.4)

        torch.testing.assert_close(logits(model, inputs), before)
    assert [pair.units for pair in feed_forwards(model)] == [24, 24]
    assert model.config.intermediate_size == 24


@pytest.mark.parametrize(("model_type", "layers"), [("llama", 3), ("opt", 2), ("distilbert", 2)])
def test_gated_and_plain_feed_forward_parts_are_found(model_type: str, layers: int) -> None:
    other_names = {"ffn_dim": 40, "word_embed_proj_dim": 16, "dim": 16, "hidden_dim": 40, "n_layers": 2, "n_heads": 2}
    config = AutoConfig.for_model(model_type, **SMALL | TOKENS | other_names)

    pairs = feed_forwards(AutoModel.from_config(config))

    assert [pair.units for pair in pairs] == [40, 40]
    assert {len(pair.expanding) + 1 for pair in pairs} == {layers}


def test_an_architecture_without_a_known_feed_forward_part_is_refused() -> None:
    model, recipe = language_model({"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24})

    with pytest.raises(UserError, match=r"no block .* set compress\.prune_ratios to \[0\.0\]"):
        prune(model, recipe, 0.5)
    prune(model, recipe, 0.0)
