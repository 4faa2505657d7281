"""What training minimises: classes that are rare count more, and the chances that are learned stay true."""

import pytest
import torch

from workloads.spec.errors import UserError
from workloads.spec.recipe import load_recipe
from workloads.trainer.losses import training_loss


def sample(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, generator=source), torch.randint(0, 2, (count,), generator=source)


def test_without_weights_it_is_the_mean_cross_entropy_of_classes_and_of_text() -> None:
    logits, targets = sample(6)
    expected = torch.nn.functional.cross_entropy(logits, targets)

    assert torch.equal(training_loss(load_recipe("iris"))(logits, targets), expected)
    text = training_loss(load_recipe("language"))(logits.reshape(2, 3, 2), targets.reshape(2, 3))
    assert torch.equal(text, expected)


def test_of_balanced_classes_weights_change_nothing() -> None:
    logits, targets = sample(6)

    loss = training_loss(load_recipe("risk"), (50, 50))(logits, targets)

    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, targets))


def test_the_least_loss_is_at_the_true_chances_whatever_the_counts() -> None:
    """Of 100 samples that look alike 10 are of class 1: the model must say 0.1, at a site of any counts."""
    targets = torch.tensor([1] * 10 + [0] * 90)
    for counts in ((90, 10), (50, 50), (10, 90)):
        logits = torch.zeros(1, 2, requires_grad=True)
        optimizer = torch.optim.LBFGS([logits], max_iter=100, tolerance_grad=1e-9)
        loss_of = training_loss(load_recipe("risk"), counts)

        def closure(logits=logits, optimizer=optimizer, loss_of=loss_of):
            optimizer.zero_grad()
            loss = loss_of(logits.expand(100, 2), targets)
            loss.backward()
            return loss

        optimizer.step(closure)
        assert logits.softmax(dim=-1)[0, 1].item() == pytest.approx(0.1, abs=1e-4)


def test_both_classes_pull_alike_where_one_is_rare() -> None:
    """At the chances that are known without a look at a sample, the rare class has as much to say as the common one."""
    targets = torch.tensor([1] * 10 + [0] * 90)
    logits = torch.log(torch.tensor([0.9, 0.1])).repeat(100, 1).requires_grad_()

    training_loss(load_recipe("risk"), (90, 10))(logits, targets).backward()

    pull = logits.grad[:, 1]
    torch.testing.assert_close(pull[:10].sum(), torch.tensor(-0.25))
    torch.testing.assert_close(pull[10:].sum(), torch.tensor(0.25))


def test_the_mean_over_micro_batches_is_the_mean_over_all() -> None:
    logits, targets = sample(12)
    loss_of = training_loss(load_recipe("risk"), (9, 3))

    parts = [loss_of(*part) for part in zip(logits.split(4), targets.split(4), strict=True)]

    torch.testing.assert_close(torch.stack(parts).mean(), loss_of(logits, targets))


@pytest.mark.parametrize("counts", [(), (12, 0)])
def test_a_site_without_a_class_cannot_balance_it(counts: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="give it samples of each class, or set train.class_weights: equal"):
        training_loss(load_recipe("risk"), counts)
