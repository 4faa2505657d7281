"""What training minimises, as a function of logits and targets."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from workloads.spec.errors import UserError
from workloads.spec.recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]  # logits [..., classes] and targets int64 [...] -> the mean over all targets


def training_loss(recipe: Recipe, class_counts: Sequence[int] = ()) -> Loss:
    """The loss of `recipe` at a site whose training part has `class_counts[c]` samples of class c.

    It is the mean cross-entropy. With `train.class_weights: balanced` a sample of class c of K counts
    `w_c = N / (K n_c)`, so all classes together count alike, and the logits are judged with `log w` added. Weights
    alone would teach the model the chances that it has where classes are as frequent as each other; what it is taught
    so are the chances as they are (prior correction: King and Zeng, Political Analysis 9, 2001; logit adjustment: Menon
    et al., arXiv 2007.07314). So each site weighs by its own counts, and none has to know another's: whatever the
    weights, `p(class | sample)` minimises the loss. The mean divides by the number of targets and not by their weights:
    the mean over micro-batches, or over ranks, is then the mean over all.

    Raises:
        UserError: `balanced` with a class that the site has no sample of.
    """
    if recipe.train.class_weights == "equal":
        return mean_cross_entropy
    if not class_counts or min(class_counts) == 0:
        raise UserError(
            f"train.class_weights is balanced, and of the classes the site has {list(class_counts)} training samples; "
            "give it samples of each class, or set train.class_weights: equal"
        )
    counts = torch.tensor(class_counts, dtype=torch.float64)
    return balanced_cross_entropy((counts.sum() / (len(counts) * counts)).float())


def mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of `logits` [..., classes] against `targets` int64 [...]."""
    return cross_entropy(logits.flatten(0, -2), targets.flatten())


def balanced_cross_entropy(weights: Tensor) -> Loss:
    """Cross-entropy in which a sample of class c counts `weights[c]`, and whose minimum is at the true chances."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        weight = weights.to(logits.device)
        adjusted, flat = logits.flatten(0, -2) + weight.log(), targets.flatten()
        return (weight[flat] * cross_entropy(adjusted, flat, reduction="none")).mean()

    return loss
