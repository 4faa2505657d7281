"""Every recipe that comes with the product: parsed, built, and of a size that two cores can train."""

import pytest
import torch

from workloads.compression.example import graph_input
from workloads.spec.recipe import MlpModel, load_recipe, recipe_names
from workloads.trainer.classes import class_count
from workloads.trainer.losses import training_loss
from workloads.trainer.model import build_model, logits

PARAMETERS = {"iris": 83, "language": 3_230_464, "risk": 290, "speech": 115_578, "vision": 102_666}
OUTPUTS = {"iris": 3, "language": 258, "risk": 2, "speech": 10, "vision": 10}


def test_all_recipes_are_known_here() -> None:
    assert recipe_names() == sorted(PARAMETERS)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_builds_its_model_within_its_budget(name: str) -> None:
    recipe = load_recipe(name)

    model = build_model(recipe)

    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    source = graph_input(recipe)
    with torch.no_grad():
        answer = logits(model.eval(), source.example)
    assert answer.shape[0] == len(source.example)
    assert answer.shape[-1] == OUTPUTS[name]
    if recipe.data.kind != "text":
        assert class_count(recipe) == OUTPUTS[name]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_what_its_model_must_reach_after_compression(name: str) -> None:
    """Ratios end with 0, so that a model that cannot be pruned may still be published."""
    recipe = load_recipe(name)

    assert recipe.compress.prune_ratios[-1] == 0
    assert list(recipe.compress.prune_ratios) == sorted(recipe.compress.prune_ratios, reverse=True)
    assert recipe.compress.gate.max_relative_loss <= 0.05
    assert recipe.train.steps <= 600


@pytest.mark.parametrize("name", recipe_names())
def test_training_draws_nothing_that_a_checkpoint_does_not_have(name: str) -> None:
    """Not from numpy's own generator: a step made again from torch's state alone is the same loss and gradients."""
    recipe = load_recipe(name)
    source = graph_input(recipe).example
    targets = torch.ones(source.shape if recipe.data.kind == "text" else len(source), dtype=torch.int64)
    loss_of = training_loss(recipe, (1,) * OUTPUTS[name])
    model = build_model(recipe).train()
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        model.zero_grad()
        loss = loss_of(logits(model, source), targets)
        loss.backward()
        losses.append(
            (
                loss.item(),
                [parameter.grad.sum().item() for parameter in model.parameters() if parameter.grad is not None],
            )
        )

    assert losses[0] == losses[1]


def test_a_network_of_logarithms_sees_columns_of_any_size_alike() -> None:
    recipe = load_recipe("risk")
    assert isinstance(recipe.model, MlpModel)
    model = build_model(recipe)
    features = torch.tensor([[0.0, -1.0, 1e6, -1e6, 3.0, 0.0, 0.5, 2.0, 10.0]])

    with torch.no_grad():
        expected = model.output(torch.relu(model.hidden(torch.sign(features) * torch.log1p(features.abs()))))
        torch.testing.assert_close(model(features), expected)
