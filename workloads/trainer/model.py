"""Models by recipe. Nothing here knows of sites, ranks or data."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workloads.spec.errors import UserError
from workloads.spec.recipe import MlpModel, Recipe, TextData, TransformersModel
from workloads.trainer.evaluation import Predict
from workloads.trainer.finished import RECIPE
from workloads.trainer.shard_files import LABELS
from workloads.trainer.tokenizer import BEGIN, END, VOCABULARY, save_tokenizer

WEIGHTS = "model.safetensors"


class Mlp(nn.Module):
    """A two-layer network: features [batch, inputs] -> ReLU -> logits [batch, classes]."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [batch, classes] of `features` [batch, inputs]."""
        return cast("Tensor", self.output(torch.relu(self.hidden(features))))


def build_model(recipe: Recipe) -> nn.Module:
    """The recipe's model with random weights from torch's global generator, which the caller seeds.

    Raises:
        UserError: the configuration is not one of `transformers`, or does not fit the recipe's data.
    """
    if isinstance(recipe.model, MlpModel):
        return Mlp(recipe.model.inputs, recipe.model.hidden, recipe.model.classes)
    return _build_transformer(recipe, recipe.model)


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits [batch, ..., classes] of `model`, wrapped for distribution or not."""
    output = model(inputs)
    return output if isinstance(output, Tensor) else cast("Tensor", output.logits)


def predictor(model: nn.Module, device: torch.device) -> Predict:
    """`model` as a function from numpy inputs to numpy logits: no gradients, no dropout; its mode is left as it was."""

    def predict(inputs: NDArray[Any]) -> NDArray[Any]:
        is_training = model.training
        model.eval()
        with torch.no_grad():
            answer: NDArray[Any] = logits(model, torch.from_numpy(inputs).to(device)).float().cpu().numpy()
        model.train(is_training)
        return answer

    return predict


def save_model(model: nn.Module, recipe: Recipe, folder: Path, shard: Path) -> None:
    """Write the weights and all that is needed to use them, except the manifest, to `folder`, which exists.

    `shard` is any site's: a table's names of features and classes are copied from it.
    """
    (folder / RECIPE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if isinstance(recipe.model, MlpModel):
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    else:
        with _no_progress_bars():
            cast("Any", model).save_pretrained(folder)
    if isinstance(recipe.data, TextData):
        save_tokenizer(folder, recipe.data.context)
    else:
        shutil.copyfile(shard / LABELS, folder / LABELS)


def load_model(folder: Path) -> tuple[nn.Module, Recipe]:
    """The model that `save_model` wrote to `folder`, ready to predict, and its recipe.

    Raises:
        UserError: the recipe is missing or does not fit.
    """
    recipe = Recipe.load(folder / RECIPE)
    if isinstance(recipe.model, MlpModel):
        model = build_model(recipe)
        model.load_state_dict(load_file(folder / WEIGHTS))
    else:
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds that tables need not wait

        with _no_progress_bars():
            model = cast("nn.Module", AutoModelForCausalLM.from_pretrained(folder, local_files_only=True))
    return model.eval(), recipe


def _build_transformer(recipe: Recipe, spec: TransformersModel) -> nn.Module:
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415 - seconds that tables need not wait

    settings: dict[str, Any] = {"bos_token_id": BEGIN, "eos_token_id": END, "use_cache": False, **spec.config}
    kind = settings.pop("model_type", None)
    try:
        config = AutoConfig.for_model(str(kind), **settings)
        model = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise UserError(
            f"model.config of kind {kind!r}: {' '.join(str(error).split())[:200]}; mend the recipe"
        ) from None
    if config.vocab_size < VOCABULARY:
        raise UserError(f"model.config.vocab_size {config.vocab_size} is less than the {VOCABULARY} byte-level tokens")
    context = recipe.data.context if isinstance(recipe.data, TextData) else 0
    if config.max_position_embeddings < context:
        raise UserError(
            f"data.context {context} is more than model.config.max_position_embeddings "
            f"{config.max_position_embeddings}; lower the one or raise the other"
        )
    return cast("nn.Module", model)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """`transformers` draws bars for work of a second, into logs where they are noise."""
    from transformers.utils import logging  # noqa: PLC0415

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()
