"""Fisher information where it is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from workloads.fusion.fisher import diagonal_fisher
from workloads.spec.errors import UserError


class Tokens(nn.Module):
    """Logits [batch, places, classes] that are the same wherever one looks."""

    def __init__(self, chances: list[float]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(chances).log())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.bias.expand(*tokens.shape, -1)


def test_of_a_logistic_model_it_is_the_known_formula():
    """For p = softmax(W x + b): E[(d log p / d W_cj)^2] = p_c (1 - p_c) x_j^2."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    samples = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)

    diagonal = diagonal_fisher(model, np.split(samples, 20), seed=0)

    with torch.no_grad():
        chances = model(torch.from_numpy(samples)).softmax(dim=-1)
    spread = chances * (1 - chances)
    torch.testing.assert_close(diagonal["bias"], spread.mean(dim=0))
    torch.testing.assert_close(diagonal["weight"], spread.T @ torch.from_numpy(samples).square() / 20)


def test_of_text_it_is_drawn_and_tends_to_the_known_formula():
    """Of n independent places the information of a bias is n p (1 - p); 800 draws hit it within a few percent."""
    chances = torch.tensor([0.7, 0.2, 0.1])

    diagonal = diagonal_fisher(Tokens(chances.tolist()), [np.zeros((1, 5), dtype=np.int64)] * 800, seed=3)

    torch.testing.assert_close(diagonal["bias"], 5 * chances * (1 - chances), rtol=0.15, atol=0)


def test_it_follows_from_the_seed():
    samples = [np.zeros((1, 5), dtype=np.int64)] * 4

    first, same, other = (diagonal_fisher(Tokens([0.5, 0.5]), samples, seed)["bias"] for seed in (1, 1, 5))

    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_site_without_data_is_refused():
    with pytest.raises(UserError, match="no held-out sample"):
        diagonal_fisher(nn.Linear(2, 2), [], seed=0)
