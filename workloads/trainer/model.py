"""Models by recipe. Nothing here knows of sites, ranks or data."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workloads.spec.data import LabelledTextData, TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import MlpModel, Recipe
from workloads.trainer.finished import RECIPE
from workloads.trainer.models.transformer import build_transformer, load_transformer, quiet, renamed_as_saved
from workloads.trainer.scores import Predict
from workloads.trainer.shard_files import LABELS
from workloads.trainer.tokenizer import BYTES, TOKENIZER, TOKENIZER_CONFIG, save_tokenizer

WEIGHTS = "model.safetensors"


class Mlp(nn.Module):
    """A two-layer network: features [batch, inputs] -> ReLU -> logits [batch, classes]."""

    def __init__(self, spec: MlpModel) -> None:
        super().__init__()
        self.hidden = nn.Linear(spec.inputs, spec.hidden)
        self.output = nn.Linear(spec.hidden, spec.classes)
        self._takes_logarithms = spec.scale == "log"

    def forward(self, features: Tensor) -> Tensor:
        """Logits [batch, classes] of `features` [batch, inputs]."""
        if self._takes_logarithms:
            features = features.sign() * (1 + features.abs()).log()
        return cast("Tensor", self.output(torch.relu(self.hidden(features))))


def build_model(recipe: Recipe) -> nn.Module:
    """The recipe's model: with the weights that it names, else random ones from torch's generator, which the caller seeds.

    Raises:
        UserError: the configuration is not one of `transformers`, does not fit the recipe's data, or the weights are not
            there as safetensors.
    """
    if isinstance(recipe.model, MlpModel):
        return Mlp(recipe.model)
    return build_transformer(recipe, recipe.model)


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

    `shard` is any site's: names of features and classes, and a tokenizer other than bytes, are copied from it.
    """
    (folder / RECIPE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if isinstance(recipe.model, MlpModel):
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    else:
        with quiet():
            # one file, as all that reads it expects; its size has no limit of its own
            cast("Any", model).save_pretrained(folder, max_shard_size="1000GB")
    if isinstance(recipe.data, TextData | LabelledTextData):
        if recipe.data.tokenizer == BYTES:
            save_tokenizer(folder, recipe.data.context)
        else:
            _copy(shard, folder, TOKENIZER, TOKENIZER_CONFIG)
    if not isinstance(recipe.data, TextData):
        _copy(shard, folder, LABELS)


def load_model(folder: Path) -> tuple[nn.Module, Recipe]:
    """The model that `save_model` wrote to `folder`, ready to predict, and its recipe.

    Raises:
        UserError: the recipe is missing or does not fit.
    """
    recipe = Recipe.load(folder / RECIPE)
    if isinstance(recipe.model, MlpModel):
        model: nn.Module = Mlp(recipe.model)
        model.load_state_dict(_read(folder / WEIGHTS))
    else:
        model = load_transformer(recipe.model, folder)
    return model.eval(), recipe


def named_as_in_file(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`, by parameter, with the names that `save_model` gives the parameters in the weights' file.

    They differ where `transformers` has renamed the parts of an architecture since its first weights were published.
    """
    return dict(tensors) if isinstance(model, Mlp) else renamed_as_saved(model, tensors)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: the model's weights are missing; run `make up` to make them again")
    return load_file(path)


def _copy(source: Path, target: Path, *names: str) -> None:
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
