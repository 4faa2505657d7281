"""The rounds of a run: how long each is, and the outer step's settings, which follow from how many there are."""

from dataclasses import dataclass

from workloads.spec.plan import RoundPlan
from workloads.spec.recipe import Recipe


@dataclass(frozen=True)
class OuterSettings:
    """Of Nesterov's step on the merged pseudo-gradient."""

    lr: float
    momentum: float


# Published settings (0.7 and 0.9 in DiLoCo, arXiv 2311.08105) are for hundreds of rounds: momentum of a few rounds'
# worth has no time to pay back what it overshoots at first. In 31 rounds of the task of `make bench BENCH=wan` 0.5
# ends 0.2 to 0.3 % lower in loss than 0.6, and 2 % lower than 0.75.
_FEW_ROUNDS = 20
_WITHOUT_MOMENTUM = OuterSettings(lr=1.0, momentum=0.0)
_WITH_MOMENTUM = OuterSettings(lr=0.7, momentum=0.5)


def outer_settings(rounds: int) -> OuterSettings:
    """What fits a run of so many rounds: plain averaging for a few, momentum where it has time to pay."""
    return _WITHOUT_MOMENTUM if rounds < _FEW_ROUNDS else _WITH_MOMENTUM


def plan_rounds(recipe: Recipe, steps: int) -> tuple[RoundPlan, ...]:
    """Rounds of `steps` inner steps each; the last takes what is left.

    Outer settings are the recipe's or, for `auto`, those that fit the number of rounds.
    """
    whole, rest = divmod(recipe.train.steps, steps)
    lengths = [steps] * whole + [rest] * bool(rest)
    fitting, given = outer_settings(len(lengths)), recipe.train.outer
    lr = fitting.lr if given.lr == "auto" else given.lr
    momentum = fitting.momentum if given.momentum == "auto" else given.momentum
    return tuple(RoundPlan(steps=length, lr=lr, momentum=momentum) for length in lengths)
