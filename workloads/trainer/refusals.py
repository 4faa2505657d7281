"""Frames that a site has refused, by reason, whichever of its ranks it was."""

from collections import Counter
from collections.abc import Mapping
from typing import get_args

import torch

from workloads.sync.ledger import Refusal
from workloads.trainer.world import World

_REASONS: tuple[str, ...] = tuple(reason for reasons in get_args(Refusal) for reason in get_args(reasons))


class SiteRefusals:
    """`own` is what this rank's exchange counts; a rank without one has an empty counter."""

    def __init__(self, world: World, own: Mapping[str, int]) -> None:
        self._world = world
        self._own = own
        self._others: Counter[str] = Counter()

    def gather(self) -> int:
        """Frames refused by all ranks so far, on each of them. All ranks call it together."""
        mine = torch.tensor([self._own.get(reason, 0) for reason in _REASONS], device=self._world.device)
        total = self._world.gather(mine).sum(dim=0)
        self._others = Counter(dict(zip(_REASONS, (total - mine).tolist(), strict=True)))
        return int(total.sum())

    def by_reason(self) -> dict[str, int]:
        """Of this rank as of now, of the others as of the last `gather`. Any thread may ask."""
        return dict(Counter(dict(self._own)) + self._others)
