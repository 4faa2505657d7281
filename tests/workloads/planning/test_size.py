"""Parameters are counted as the built models have them; memory follows layout and precision."""

import pytest
import torch

from workloads.planning.recognise import architecture
from workloads.planning.size import parameter_count, worker_memory
from workloads.spec.errors import UserError
from workloads.spec.plan import Layout, SitePlan
from workloads.spec.recipe import Recipe, load_recipe, recipe_names
from workloads.trainer.layouts.cutting import plan_cut
from workloads.trainer.layouts.tensor import check_tensor
from workloads.trainer.model import build_model

TEXT = {"kind": "text", "source": "python-stdlib", "context": 16, "held_out": 0.1, "max_bytes_per_site": 1000}
TEXTS = {"kind": "labelled-text", "source": "/x", "context": 16, "held_out": 0.1}
IMAGES = {"kind": "images", "source": "digits", "size": 8, "channels": 1, "held_out": 0.2}
AUDIO = {"kind": "audio", "source": "spoken-digits", "seconds": 0.2, "held_out": 0.2}
WIDE = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6}
KINDS = {
    "llama": ("causal-lm", TEXT, WIDE),
    "llama, shared keys, biases, own head": (
        "causal-lm",
        TEXT,
        {**WIDE, "model_type": "llama", "num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True},
    ),
    "llama, heads of their own width": ("causal-lm", TEXT, {**WIDE, "model_type": "llama", "head_dim": 16}),
    "llama, classes": (
        "sequence-classification",
        TEXTS,
        {**WIDE, "model_type": "llama", "num_key_value_heads": 6, "num_labels": 5},
    ),
    "mistral": ("causal-lm", TEXT, {**WIDE, "num_key_value_heads": 3, "tie_word_embeddings": True}),
    "qwen2": ("causal-lm", TEXT, {**WIDE, "num_key_value_heads": 3}),
    "gpt2": ("causal-lm", TEXT, {"vocab_size": 300, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 32}),
    "gpt2, classes": (
        "sequence-classification",
        TEXTS,
        {
            "model_type": "gpt2",
            "vocab_size": 300,
            "n_embd": 48,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": 64,
            "num_labels": 3,
        },
    ),
    "vit": ("image-classification", IMAGES, {**WIDE, "image_size": 8, "patch_size": 2, "num_channels": 1}),
    "vit, no biases": (
        "image-classification",
        IMAGES,
        {**WIDE, "model_type": "vit", "image_size": 8, "patch_size": 4, "num_channels": 1, "qkv_bias": False},
    ),
    "bert": ("sequence-classification", TEXTS, {**WIDE, "num_labels": 4}),
    "distilbert": (
        "sequence-classification",
        TEXTS,
        {"vocab_size": 300, "dim": 48, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "num_labels": 4},
    ),
    "wav2vec2": (
        "audio-classification",
        AUDIO,
        {**WIDE, "conv_dim": [32, 48], "conv_kernel": [10, 4], "conv_stride": [5, 4], "num_feat_extract_layers": 2},
    ),
    "wav2vec2, normed features, weighted layers": (
        "audio-classification",
        AUDIO,
        {
            **WIDE,
            "model_type": "wav2vec2",
            "conv_dim": [32, 48],
            "conv_kernel": [10, 4],
            "conv_stride": [5, 4],
            "num_feat_extract_layers": 2,
            "feat_extract_norm": "layer",
            "conv_bias": True,
            "use_weighted_layer_sum": True,
            "mask_time_prob": 0.0,
        },
    ),
}


def recipe(auto: str, data: dict[str, object], config: dict[str, object]) -> Recipe:
    metric = "bits_per_byte" if auto == "causal-lm" else "accuracy"
    return Recipe.model_validate(
        {
            "name": "counted",
            "description": "",
            "model": {"kind": "transformers", "auto": auto, "config": config},
            "data": data,
            "train": {"epochs": 1, "steps_per_epoch": 10, "inner": {"lr": 0.1, "batch": 4, "steps": "auto"}},
            "compress": {"gate": {"metric": metric, "bound": 1, "max_relative_loss": 1}},
        }
    )


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_as_transformers_builds_the_model(kind):
    auto, data, config = KINDS[kind]
    given = recipe(auto, data, {"model_type": kind.split(",")[0], **config})
    assert parameter_count(given) == sum(parameter.numel() for parameter in build_model(given).parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_split_only_in_ways_that_the_trainer_knows(kind):
    auto, data, config = KINDS[kind]
    given = recipe(auto, data, {"model_type": kind.split(",")[0], **config})
    model, built = architecture(given), build_model(given)
    if model.splits > 1:
        check_tensor(built, model.splits)
    if model.stages > 1:
        site = SitePlan(layout=Layout(pipeline=model.stages), batch=model.stages, micro_batch=1)
        assert plan_cut(built, site).stages == model.stages


@pytest.mark.parametrize("name", recipe_names())
def test_parameters_of_every_bundled_recipe_are_counted_exactly(name):
    given = load_recipe(name)
    assert parameter_count(given) == sum(parameter.numel() for parameter in build_model(given).parameters())


@pytest.mark.parametrize(
    ("kind", "auto", "data"),
    [
        ("llama", "causal-lm", TEXT),
        ("mistral", "causal-lm", TEXT),
        ("qwen2", "causal-lm", TEXT),
        ("gpt2", "causal-lm", TEXT),
        ("vit", "image-classification", {**IMAGES, "size": 224, "channels": 3}),
        ("bert", "sequence-classification", TEXTS),
        ("distilbert", "sequence-classification", TEXTS),
        ("wav2vec2", "audio-classification", AUDIO),
    ],
)
def test_what_a_configuration_leaves_out_is_what_transformers_makes_of_it(kind, auto, data):
    given = recipe(auto, data, {"model_type": kind, "num_labels": 10})
    with torch.device("meta"):  # no memory, only shapes
        built = build_model(given)
    assert parameter_count(given) == sum(parameter.numel() for parameter in built.parameters())


def test_an_unknown_kind_is_refused_with_the_known_ones_and_what_to_give_by_hand():
    given = recipe("causal-lm", TEXT, {"model_type": "mamba"})
    with pytest.raises(
        UserError, match=r"'mamba' is not known before it is built; choose one of bert, .* train.layout"
    ):
        parameter_count(given)


def test_a_configuration_that_does_not_add_up_is_refused_in_one_line():
    given = recipe("audio-classification", AUDIO, {"model_type": "wav2vec2", "conv_stride": [5] * 7})
    with pytest.raises(UserError, match="nothing is left of a recording after convolution"):
        parameter_count(given)


def test_weights_that_only_the_sites_can_read_need_their_configuration_repeated(tmp_path):
    given = recipe("causal-lm", TEXT, {})
    far = given.model_copy(update={"model": given.model.model_copy(update={"weights": "s3://bucket/model"})})
    with pytest.raises(UserError, match=r"repeat its config.json under model.config"):
        parameter_count(far)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_layer": 2}')
    near = given.model_copy(update={"model": given.model.model_copy(update={"weights": str(tmp_path)})})
    assert parameter_count(near) == parameter_count(recipe("causal-lm", TEXT, {"model_type": "gpt2", "n_layer": 2}))


def memory(layout: Layout = Layout(), **changes: object) -> float:  # noqa: B008 - frozen
    given = load_recipe("language", {"train.inner.optimizer": "adamw"})
    settings = {"precision": "fp32", "checkpointing": False, "in_flight": 1, "on_accelerator": False, **changes}
    made = worker_memory(architecture(given), given.train.inner, layout, 2, **settings)
    return made.model + made.activations


def test_splitting_a_model_and_computing_layers_again_take_less_memory():
    assert memory(Layout(shards=2)) < memory(Layout(replicas=2)) == memory()
    assert memory(Layout(tensor=2)) < memory()
    assert memory(Layout(pipeline=2)) < memory()
    assert memory(checkpointing=True) < memory()
    assert memory(Layout(pipeline=2), in_flight=2) > memory(Layout(pipeline=2))


def test_adamw_in_fp32_takes_sixteen_bytes_a_parameter():
    given = load_recipe("language", {"train.inner.optimizer": "adamw"})
    made = worker_memory(
        architecture(given),
        given.train.inner,
        Layout(),
        1,
        precision="fp32",
        checkpointing=False,
        in_flight=1,
        on_accelerator=False,
    )
    assert made.model == 16 * parameter_count(given)
    assert made.outer == 16 * parameter_count(given)
