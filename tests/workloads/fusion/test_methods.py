"""Merges whose right answer is known, by hand or by theory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.fusion.methods import fisher_mean, ties, weighted_mean
from workloads.fusion.soup import greedy_soup
from workloads.fusion.trimming import magnitude_threshold


def regression(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [rows, 3] with uncorrelated columns, and targets [rows]."""
    source = torch.Generator().manual_seed(seed)
    inputs, _ = torch.linalg.qr(torch.randn(rows, 3, generator=source, dtype=torch.float64))
    return inputs * torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64), torch.randn(
        rows, generator=source, dtype=torch.float64
    )


def solved(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.linalg.lstsq(inputs, targets).solution


def test_the_mean_of_linear_models_answers_the_mean_of_their_answers():
    inputs = torch.randn(5, 3, dtype=torch.float64)
    models = [torch.randn(3, dtype=torch.float64) for _ in range(3)]
    weights = (0.5, 0.3, 0.2)

    merged = weighted_mean(models, weights)

    torch.testing.assert_close(inputs @ merged, sum(w * (inputs @ m) for w, m in zip(weights, models, strict=True)))


def test_models_in_half_precision_are_summed_in_full():
    models = [torch.tensor([1.0 + step / 128]).to(torch.bfloat16) for step in range(8)]

    merged = weighted_mean(models, [1 / 8] * 8)

    assert merged.dtype == torch.bfloat16
    assert merged == torch.tensor([1 + 3.5 / 128]).to(torch.bfloat16)


def test_the_fisher_mean_of_two_sites_is_the_regression_on_the_data_of_both():
    """With uncorrelated columns the information is diagonal, so two Gaussian posteriors multiply into the joint one."""
    (x1, y1), (x2, y2) = regression(20, seed=1), regression(60, seed=2)
    information = [inputs.square().mean(dim=0) for inputs in (x1, x2)]

    merged = fisher_mean([solved(x1, y1), solved(x2, y2)], information, (20 / 80, 60 / 80))

    joint = solved(torch.cat([x1, x2]), torch.cat([y1, y2]))
    torch.testing.assert_close(merged, joint)
    assert not torch.allclose(weighted_mean([solved(x1, y1), solved(x2, y2)], (0.25, 0.75)), joint)


def test_a_model_that_knows_nothing_of_a_parameter_has_no_say_in_it():
    merged = fisher_mean(
        [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0, 5.0, 5.0])],
        [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])],
        (0.75, 0.25),
    )

    assert merged.tolist() == [1.0, 5.0, 2.0]  # of the last nobody knows anything: the weighted mean


def test_ties_by_hand():
    """The changes of three models, trimmed at 2, 2 and 1; kept are those beside the letters.

    a: +4 and +2 agree, mean 3. b: +6 outweighs -2. c: -3 and -5 outweigh +4. d: all are trimmed. e: +2 and -2 leave no
    sign.
    """
    base = torch.tensor([10.0, 10.0, 10.0, 10.0, 10.0])
    changes = [[4.0, 6.0, 4.0, 1.0, 2.0], [2.0, -2.0, -3.0, 0.0, -2.0], [0.5, 0.0, -5.0, 0.9, 0.0]]

    merged = ties(base, [base + torch.tensor(change) for change in changes], (2.0, 2.0, 1.0), scale=1.0)

    assert merged.tolist() == [13.0, 16.0, 6.0, 10.0, 10.0]
    halved = ties(base, [base + torch.tensor(change) for change in changes], (2.0, 2.0, 1.0), scale=0.5)
    assert halved.tolist() == [11.5, 13.0, 8.0, 10.0, 10.0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=False), min_size=1, max_size=60),
    st.floats(0.01, 1.0),
    st.integers(1, 4),
)
def test_the_threshold_is_the_kth_largest_magnitude_of_the_whole_model(
    values: list[float], density: float, parts: int
) -> None:
    vectors = [torch.from_numpy(part) for part in np.array_split(np.array(values, dtype=np.float32), parts)]

    threshold = magnitude_threshold(lambda: vectors, density)

    rank = max(1, round(density * len(values)))
    assert threshold == sorted((abs(value) for value in values), reverse=True)[rank - 1]


def test_a_soup_leaves_a_bad_ingredient_out_and_begins_with_the_best():
    """Models on a line with the best answer at 0: the mean of 0.1 and -0.2 is nearer to it, that with 3 is not."""
    places = [3.0, 0.1, -0.2]
    tried = []

    def quality_of(chosen: tuple[int, ...]) -> float:
        tried.append(chosen)
        return -abs(sum(places[index] for index in chosen) / len(chosen))

    soup = greedy_soup([-abs(place) for place in places], quality_of, higher_is_better=True)

    assert soup == (1, 2)
    assert tried == [(1, 2), (1, 2, 0)]


@pytest.mark.parametrize(("higher_is_better", "first"), [(True, 2), (False, 1)])
def test_the_best_model_is_the_highest_or_the_lowest(*, higher_is_better: bool, first: int) -> None:
    def worse(_chosen: tuple[int, ...]) -> float:
        return -9.0 if higher_is_better else 9.0

    assert greedy_soup([0.5, 0.2, 0.9], worse, higher_is_better=higher_is_better) == (first,)
