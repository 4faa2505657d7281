"""How many classes a recipe's model tells apart. Torch-free."""

from workloads.spec.data import TextData
from workloads.spec.errors import UserError
from workloads.spec.recipe import MlpModel, Recipe

_BUNDLED = {"digits": 10, "spoken-digits": 10}


def class_count(recipe: Recipe) -> int:
    """Classes of a recipe that has some: as the model says, else as the data does.

    Raises:
        UserError: neither says, or they disagree.
    """
    model, data = recipe.model, recipe.data
    if isinstance(data, TextData):
        raise TypeError(f"recipe {recipe.name} is about text, which has no classes")
    said = model.classes if isinstance(model, MlpModel) else _labels(recipe)
    named = len(data.classes) if data.classes is not None else _BUNDLED.get(data.source)
    if said is not None and named is not None and said != named:
        key = "model.classes" if isinstance(model, MlpModel) else "model.config.num_labels"
        raise UserError(f"{key} is {said}, and the data has {named} classes; set it to {named}")
    count = said or named
    if count is None:
        raise UserError(
            f"recipe {recipe.name}: how many classes there are is not said; set model.config.num_labels, or name them in "
            "data.classes"
        )
    return count


def _labels(recipe: Recipe) -> int | None:
    if isinstance(recipe.model, MlpModel):
        return recipe.model.classes
    config = recipe.model.config
    names, count = config.get("id2label"), config.get("num_labels")
    if isinstance(names, dict):
        return len(names)
    return count if isinstance(count, int) else None
