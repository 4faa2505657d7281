"""From a recipe to the architecture of its model."""

import json
from pathlib import Path
from typing import Any

from workloads.planning.architecture import Architecture, Config, Sample
from workloads.planning.kinds import KINDS
from workloads.planning.layers import Cost, elementwise, linear, loss, total
from workloads.spec.data import AudioData, ImageData, LabelledTextData, TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import MlpModel, Recipe
from workloads.trainer.classes import class_count


def architecture(recipe: Recipe) -> Architecture:
    """The architecture of `recipe`.

    Raises:
        UserError: it is of a kind that the planner does not know, or lies where only the sites can read it.
    """
    model = recipe.model
    if isinstance(model, MlpModel):
        return _mlp(model)
    config = _known_config(recipe)
    kind = config.get("model_type")
    if kind not in KINDS:
        raise UserError(
            f"recipe {recipe.name}: the size of a model of type {kind!r} is not known before it is built; choose one of "
            f"{', '.join(sorted(KINDS))}, or give train.layout, train.inner.micro_batch, train.inner.steps and "
            "train.outer.overlap_steps, bits and fragments by hand"
        )
    read, defaults = KINDS[kind]
    try:
        return read(Config(config, defaults), _sample(recipe))
    except (TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        raise UserError(f"recipe {recipe.name}: model.config of a {kind} does not add up ({error}); mend it") from None


def _mlp(model: MlpModel) -> Architecture:
    hidden = linear(1, model.inputs, model.hidden) + elementwise(model.hidden, traffic=2)
    head = linear(1, model.hidden, model.classes, hidden=False)
    return Architecture(
        layer=Cost(),
        layers=0,
        ends=total(hidden, head, loss(1, model.classes)),
        rows=1,
        width=model.hidden,
    )


def _known_config(recipe: Recipe) -> dict[str, Any]:
    """The configuration as far as it can be read here: a local folder's file with what the recipe overrides."""
    if isinstance(recipe.model, MlpModel):
        raise TypeError("an mlp has no configuration")
    weights, config = recipe.model.weights, recipe.model.config
    if weights is None:
        return dict(config)
    path = Path(weights.removeprefix("file://")) / "config.json"
    if not path.is_file():
        if "model_type" in config:  # enough to go by, if the recipe repeats what counts
            return dict(config)
        raise UserError(
            f"recipe {recipe.name}: {weights} is read at the sites and not here; repeat its config.json under model.config"
        )
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**found, **config}


def _sample(recipe: Recipe) -> Sample:
    data = recipe.data
    if isinstance(data, TextData):
        return Sample(data.context, None)
    classes = class_count(recipe)
    if isinstance(data, LabelledTextData):
        return Sample(data.context, classes)
    if isinstance(data, ImageData):
        return Sample(data.size, classes)
    if isinstance(data, AudioData):
        return Sample(round(data.rate_hz * data.seconds), classes)
    raise TypeError(f"a {type(data).__name__} is for tables")
