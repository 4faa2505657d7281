"""Greedy soup: which models are worth averaging."""

from collections.abc import Callable, Sequence


def greedy_soup(
    qualities: Sequence[float], quality_of: Callable[[tuple[int, ...]], float], *, higher_is_better: bool
) -> tuple[int, ...]:
    """Models of the soup in the order in which they came in (Wortsman et al., arXiv 2203.05482, recipe 1).

    `qualities` are the models' own, held out; they are tried from the best on, and one stays if the uniform mean with it,
    which `quality_of` judges, is no worse than without. The best model is always in, so the soup is never worse than it.
    """
    sign = 1.0 if higher_is_better else -1.0
    order = sorted(range(len(qualities)), key=lambda model: -sign * qualities[model])
    soup: tuple[int, ...] = (order[0],)
    best = sign * qualities[order[0]]
    for model in order[1:]:
        quality = sign * quality_of((*soup, model))
        if quality >= best:
            soup, best = (*soup, model), quality
    return soup
