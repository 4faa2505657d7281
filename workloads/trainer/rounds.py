"""A site's rounds as each of its ranks sees them: the first rank talks to the other sites, the others follow it."""

import torch
from torch import nn

from workloads.sync import RoundReport, Synchronizer
from workloads.trainer.state import flatten, unflatten
from workloads.trainer.world import World


class SiteRounds:
    """Merges `model` with the other sites'. Every method is called by all ranks of the site together."""

    def __init__(self, world: World, model: nn.Module, synchronizer: Synchronizer | None) -> None:
        if (synchronizer is not None) != world.is_first:
            raise ValueError(f"rank {world.rank}: the first rank of a site, and no other, has a synchronizer")
        self._world = world
        self._model = model
        self._synchronizer = synchronizer
        self.report: RoundReport | None = None  # of the newest commit, on the first rank

    def begin(self, samples: int) -> None:
        """Offer what was learnt from `samples` samples since the last `begin`."""
        if self._synchronizer is not None:
            self._synchronizer.begin(flatten(self._model), samples)

    def commit(self, timeout_s: float | None) -> bool:
        """Whether every site's part was there within `timeout_s` seconds (None: wait as long as it takes)."""
        if self._synchronizer is not None:
            self.report = self._synchronizer.commit(timeout_s)
        return bool(self._world.share(int(self.report is not None)))

    def merge(self) -> None:
        """After a commit: bring the model to what all sites agreed on, keeping what it learnt meanwhile."""
        merged = flatten(self._model)
        if self._synchronizer is not None:
            merged = self._synchronizer.merge(merged)
        unflatten(self._model, self._world.broadcast(merged.to(self._world.device)))

    def outer_state(self) -> dict[str, torch.Tensor]:
        """State of the merge; empty on other ranks than the first."""
        return {} if self._synchronizer is None else self._synchronizer.state_dict()
