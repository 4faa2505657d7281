"""A site's turns as each of its ranks sees them: a part's owner speaks with its like at other sites, replicas follow."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workloads.sync import Synchronizer
from workloads.sync.fragments import fragment_slices
from workloads.trainer.layouts.flat import local
from workloads.trainer.parallelise import ParallelModel
from workloads.trainer.world import World


@dataclass
class LinkUse:
    """What the turns of all parts have cost. Waiting is that of the part which waited longest."""

    bytes_sent: int = 0
    bytes_received: int = 0
    wait_s: float = 0.0


class SiteRounds:
    """Merges the model with the other sites', turn by turn. Every method is called by all ranks of the site together."""

    def __init__(
        self, world: World, parallel: ParallelModel, fragments: int, synchronizer: Synchronizer | None
    ) -> None:
        if (synchronizer is not None) != parallel.owns_part:
            raise ValueError(f"rank {world.rank}: the owner of a part, and no other rank, has a synchronizer")
        self.begun = 0
        self.committed = 0
        self._world = world
        self._parallel = parallel
        self._synchronizer = synchronizer
        self._fragments = fragment_slices(parallel.size, fragments)
        self._use = LinkUse()

    @property
    def pending(self) -> bool:
        """Whether some turn is begun and not committed."""
        return self.begun > self.committed

    @property
    def can_begin(self) -> bool:
        """Whether the next turn's fragment is not pending from the round before."""
        return self.begun - self.committed < len(self._fragments)

    def go_on(self, begun: int, committed: int) -> None:
        """Count from here: a state with these turns was restored."""
        self.begun, self.committed = begun, committed

    def begin(self, trained: int, keep: Callable[[], None] | None = None) -> None:
        """Offer what the next fragment has learnt from `trained` samples, counted from the start of the run.

        `keep` is called in another thread before anything is sent.
        """
        where = self._where(self.begun)
        if self._synchronizer is not None:
            self._synchronizer.begin(self._parallel.flatten(where), trained, keep)
        self.begun += 1

    def arrived(self, timeout_s: float) -> bool:
        """Whether the frames of the oldest pending turn are here, of every part, within `timeout_s` seconds."""
        is_here = self._synchronizer is None or self._synchronizer.arrived(timeout_s)
        if self._world.size == 1:
            return is_here
        return bool(self._world.gather(torch.tensor(int(is_here), device=self._world.device)).min())

    def commit(self) -> None:
        """Bring a fragment of the model to what all sites agreed on, keeping what it has learnt meanwhile."""
        where = self._where(self.committed)
        values = self._parallel.flatten(where)
        if self._synchronizer is not None:
            report = self._synchronizer.commit()
            values = self._synchronizer.merge(values)
            self._use.bytes_sent += report.bytes_sent
            self._use.bytes_received += report.bytes_received
            self._use.wait_s += report.wait_s
        self._parallel.unflatten(where, self._parallel.share_part(values))
        self.committed += 1

    def take_over(self) -> None:
        """Set the model to the shared parameters: the site was healed."""
        for where in self._fragments:  # one by one: all at once would be as large as the model
            values = self._parallel.flatten(where)
            if self._synchronizer is not None:
                values.copy_(self._synchronizer.outer_tensors()["parameters"][where])
            self._parallel.unflatten(where, self._parallel.share_part(values))

    def take_use(self) -> LinkUse:
        """What the turns of all parts have cost since the last call."""
        use, self._use = self._use, LinkUse()
        if self._world.size == 1:
            return use
        figures = torch.tensor([use.bytes_sent, use.bytes_received, use.wait_s], dtype=torch.float64)
        every = self._world.gather(figures.to(self._world.device)).cpu()
        return LinkUse(int(every[:, 0].sum()), int(every[:, 1].sum()), float(every[:, 2].max()))

    def is_finite(self) -> bool:
        """Whether every parameter of the model is a number, at every rank."""
        mine = all(bool(torch.isfinite(local(tensor)).all()) for tensor in self._parallel.parameters.values())
        return bool(self._world.gather(torch.tensor(int(mine), device=self._world.device)).min())

    def _where(self, turns: int) -> slice:
        return self._fragments[turns % len(self._fragments)]
