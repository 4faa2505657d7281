"""Models of `transformers`, by configuration, with random weights or with those of a folder or an address."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn

from workloads.spec.data import AudioData, ImageData, LabelledTextData, TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe, TransformersModel
from workloads.trainer.classes import class_count
from workloads.trainer.offline import stay_offline
from workloads.trainer.sources import fetch
from workloads.trainer.tokenizer import BEGIN, BYTES, END, VOCABULARY

_AUTOS = {
    "causal-lm": "AutoModelForCausalLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "audio-classification": "AutoModelForAudioClassification",
}
CONFIG = "config.json"
_FILES = (CONFIG, ".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".ckpt")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def build_transformer(recipe: Recipe, spec: TransformersModel) -> nn.Module:
    """The model of `spec`, in fp32 and ready to train.

    Raises:
        UserError: as `build_model`.
    """
    stay_offline()
    if spec.weights is None:
        config = _configuration(recipe, spec, None)
        _check(recipe, config)
        with _refusing(spec, config.model_type), quiet():
            return _ready(spec, _auto(spec).from_config(config, torch_dtype=torch.float32))
    with TemporaryDirectory() as scratch:
        folder = _weights_folder(spec.weights, Path(scratch))
        config = _configuration(recipe, spec, folder)
        _check(recipe, config)
        with _refusing(spec, config.model_type), quiet():
            return _ready(spec, _load(spec, folder, config).train())


def load_transformer(spec: TransformersModel, folder: Path) -> nn.Module:
    """The model that `save_pretrained` wrote to `folder`. Raises `UserError` if it is of another kind."""
    stay_offline()
    with _refusing(spec, str(spec.config.get("model_type"))), quiet():
        return _ready(spec, _load(spec, folder, None))


def renamed_as_saved(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`, by the model's own names, by those that `save_pretrained` writes."""
    from transformers.core_model_loading import revert_weight_conversion  # noqa: PLC0415

    return dict(revert_weight_conversion(model, dict(tensors)))


@contextmanager
def quiet() -> Iterator[None]:
    """`transformers` draws bars for work of a second, and advises, into logs where both are noise."""
    from transformers.utils import logging  # noqa: PLC0415 - seconds that tables need not wait

    was_shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if was_shown:
            logging.enable_progress_bar()


def _auto(spec: TransformersModel) -> Any:
    import transformers  # noqa: PLC0415

    return getattr(transformers, _AUTOS[spec.auto])


def _load(spec: TransformersModel, folder: Path, config: Any) -> nn.Module:
    given = {} if config is None else {"config": config, "ignore_mismatched_sizes": True}
    # a classifier's head is new where the weights are of a model that told other classes apart
    return cast(
        "nn.Module",
        _auto(spec).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, **given),
    )


def _configuration(recipe: Recipe, spec: TransformersModel, folder: Path | None) -> Any:
    """The model's configuration: the folder's, if there is one, with what the recipe says in its place."""
    from transformers import AutoConfig  # noqa: PLC0415

    settings = _defaults(recipe, is_new=folder is None) | spec.config
    kind = settings.pop("model_type", None)
    with _refusing(spec, kind), quiet():
        if folder is None:
            return AutoConfig.for_model(str(kind), **settings)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **settings)
    if kind not in {None, config.model_type}:
        raise UserError(f"model.config.model_type {kind!r} is not the weights' {config.model_type!r}; leave it out")
    return config


def _defaults(recipe: Recipe, *, is_new: bool) -> dict[str, Any]:
    """What follows from the recipe's data. `is_new`: no weights have settings of their own."""
    data, settings = recipe.data, cast("dict[str, Any]", {})
    if isinstance(data, TextData | LabelledTextData) and data.tokenizer == BYTES and is_new:
        settings |= {"bos_token_id": BEGIN, "eos_token_id": END}
    if isinstance(data, TextData):
        return settings | {"use_cache": False}
    settings["num_labels"] = class_count(recipe)
    if isinstance(data, LabelledTextData) and data.tokenizer == BYTES and is_new:
        settings["pad_token_id"] = END
    if isinstance(data, AudioData) and is_new:
        # Masks and dropped layers are drawn from generators that a checkpoint does not have; a recipe may ask for them.
        settings |= {"apply_spec_augment": False, "layerdrop": 0.0}
    return settings


def _check(recipe: Recipe, config: Any) -> None:
    """Raises `UserError` unless the configuration fits the recipe's data."""
    data = recipe.data
    if isinstance(data, TextData | LabelledTextData):
        if data.tokenizer == BYTES and config.vocab_size < VOCABULARY:
            raise UserError(
                f"model.config.vocab_size {config.vocab_size} is less than the {VOCABULARY} byte-level tokens; raise it"
            )
        positions = getattr(config, "max_position_embeddings", data.context)
        if positions < data.context:
            raise UserError(
                f"data.context {data.context} is more than model.config.max_position_embeddings {positions}; "
                "lower the one or raise the other"
            )
    if isinstance(data, ImageData):
        _check_image(data, config)
    if not isinstance(data, TextData) and config.num_labels != class_count(recipe):
        raise UserError(
            f"model.config.num_labels {config.num_labels} is not the data's {class_count(recipe)} classes; mend it"
        )


def _check_image(data: ImageData, config: Any) -> None:
    for key, setting, size in (("size", "image_size", data.size), ("channels", "num_channels", data.channels)):
        known = getattr(config, setting, size)
        if known not in (size, [size, size], (size, size)):
            raise UserError(f"data.{key} {size} is not model.config.{setting} {known}; set both to the same")
    patch = getattr(config, "patch_size", 1)
    if isinstance(patch, int) and data.size % patch:
        raise UserError(
            f"data.size {data.size} does not divide into patches of model.config.patch_size {patch}; change one"
        )


def _weights_folder(address: str, scratch: Path) -> Path:
    """A folder with the files at `address`: config.json and safetensors, and nothing that Python would execute."""
    found = fetch(address, _FILES, scratch / "fetched")
    names = [name for name, _ in found if "/" not in name]
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if not any(name.endswith(".safetensors") for name in names):
        kept = f"{pickles[0]} is pickled, which may run anything when it is read" if pickles else "no *.safetensors"
        raise UserError(f"{address}: {kept}; save the weights as safetensors, with save_pretrained")
    if CONFIG not in names:
        raise UserError(f"{address}: no {CONFIG} beside the weights; save the model with save_pretrained")
    folder = scratch / "weights"
    folder.mkdir()
    for name, path in found:
        if name in names and not name.endswith(_PICKLES):
            (folder / name).symlink_to(path.resolve())
    return folder


def _ready(spec: TransformersModel, model: Any) -> nn.Module:
    if spec.auto == "sequence-classification" and model.config.pad_token_id is not None:
        model.register_forward_pre_hook(_mask_padding, with_kwargs=True)
    return cast("nn.Module", model)


def _mask_padding(
    model: nn.Module, inputs: tuple[Tensor, ...], settings: dict[str, Any]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Texts are filled up to one length; what they are filled with is not to be read."""
    if inputs and "attention_mask" not in settings:
        padding = cast("Any", model).config.pad_token_id
        settings = settings | {"attention_mask": (inputs[0] != padding).long()}
    return inputs, settings


@contextmanager
def _refusing(spec: TransformersModel, kind: Any) -> Iterator[None]:
    """What `transformers` cannot do is said in one line."""
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        yield
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OSError,
        RuntimeError,
        StrictDataclassError,
        SafetensorError,
    ) as error:
        where = f"weights {spec.weights}" if spec.weights else "model.config"
        raise UserError(
            f"{where} of kind {kind!r}, as {spec.auto}: {' '.join(str(error).split())[:200]}; mend the recipe"
        ) from None
