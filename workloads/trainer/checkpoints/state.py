"""What a site's training is made of, to and from the tensors of a checkpoint."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException

from workloads.spec.errors import UserError
from workloads.spec.plan import Layout
from workloads.sync import Synchronizer
from workloads.trainer.checkpoints.store import SavedState
from workloads.trainer.checkpoints.tensor_files import load_divided, load_own
from workloads.trainer.layouts.flat import local
from workloads.trainer.optim import Optimizers
from workloads.trainer.parallelise import ParallelModel
from workloads.trainer.world import World

_OUTER = ("parameters", "momentum", "residual")  # of `Synchronizer.outer_tensors`: a value for each parameter
_SYNC, _RANDOM, _PYTHON, _NUMPY, _TORCH, _DEVICE = "sync.", "random.", "python", "numpy", "torch", "device"


@dataclass(frozen=True)
class SiteState:
    """All that training changes, on one rank. `synchronizer` is there on the rank that owns its part of the model."""

    parallel: ParallelModel
    optimizer: Optimizers
    synchronizer: Synchronizer | None
    device: torch.device

    def divided(self) -> dict[str, Tensor]:
        """What the ranks hold together: parameters, moments, buffers, and the outer state by parameter name."""
        outer = {} if self.synchronizer is None else self.synchronizer.outer_tensors()
        return self._inner() | self._by_name(outer)

    def own(self) -> dict[str, Tensor]:
        """What belongs to this rank alone: random generators, and the turns of its part that are under way."""
        state = {} if self.synchronizer is None else self.synchronizer.state_dict()
        return {f"{_SYNC}{name}": tensor for name, tensor in state.items() if name not in _OUTER} | random_states(
            self.device
        )

    def restore(self, saved: SavedState, world: World, layout: Layout, group: ProcessGroup | None) -> None:
        """Take on `saved`, which is verified, in `layout`. All ranks call it together; `group` is one of gloo.

        Saved in this very layout, training goes on bit for bit. With as many parts but other replicas, random generators
        begin anew. Divided otherwise, the outer state is put together anew, pending turns are made again, and all sites
        have to do the same.

        Raises:
            UserError: it lacks something that the model has.
        """
        # Filled where they are: memory for them a second time would be as much as the model's, more than once.
        outer = {} if self.synchronizer is None else self.synchronizer.outer_tensors()
        named = self._by_name(outer)
        try:
            with torch.no_grad():
                load_divided(saved.folder, self._inner() | named, group)
        except CheckpointException as error:
            why = " ".join(str(next(iter(error.failures.values()))[0]).split())
            raise UserError(f"{saved.folder}: {why}; the checkpoint does not fit the model, move it away") from None
        if saved.layout == layout:
            set_random_states(_below(_RANDOM, load_own(saved.folder, world.rank)), self.device)
        if self.synchronizer is None:
            return
        for kind, vector in outer.items():
            self._fill(vector, named, kind)
        if splits(saved.layout) == splits(layout):
            turns = _below(_SYNC, load_own(saved.folder, owner_rank(saved.layout, self.parallel.part)))
            self.synchronizer.load_state_dict(outer | turns)
        else:
            progress = saved.progress
            self.synchronizer.load_outer(outer, round_number=progress.round, trained=progress.merged_samples)

    def _inner(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": tensor.detach() for name, tensor in self.parallel.parameters.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state_dict().items()}
        return tensors | {f"buffer.{name}": buffer for name, buffer in self.parallel.buffers.items()}

    def _by_name(self, outer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            f"outer.{kind}.{name}": values
            for kind, vector in outer.items()
            if kind in _OUTER
            for name, values in self.parallel.name_values(vector).items()
        }

    @staticmethod
    def _fill(vector: Tensor, named: Mapping[str, Tensor], kind: str) -> None:
        """The reverse of `name_values`: where that gave copies, on a GPU, take their values back."""
        start = 0
        for key, tensor in named.items():
            if key.startswith(f"outer.{kind}."):
                values = local(tensor).reshape(-1)
                place = vector[start : start + values.numel()]
                if place.data_ptr() != values.data_ptr():
                    place.copy_(values)
                start += values.numel()


def splits(layout: Layout) -> tuple[int, int, int, str | None]:
    """What the parts of a model depend on; replicas do not divide it, and a schedule says which layers a stage has."""
    return layout.shards, layout.tensor, layout.pipeline, layout.schedule if layout.pipeline > 1 else None


def owner_rank(layout: Layout, part: int) -> int:
    """The rank that owns `part` in `layout`: the first of its replicas. Ranks count as in `workloads.trainer.world.MESH`."""
    stage, within = divmod(part, layout.shards * layout.tensor)
    return stage * layout.replicas * layout.shards * layout.tensor + within


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of all generators that a model may draw from: torch's, numpy's and Python's."""
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - `transformers` draws from it
    del kind
    version, words, gauss = random.getstate()
    states = {
        f"{_RANDOM}{_TORCH}": torch.get_rng_state(),
        f"{_RANDOM}{_NUMPY}": torch.tensor([*map(float, keys), position, has_gauss, cached], dtype=torch.float64),
        f"{_RANDOM}{_PYTHON}": torch.tensor(
            [version, *words, math.nan if gauss is None else gauss], dtype=torch.float64
        ),
    }
    if device.type == "cuda":
        states[f"{_RANDOM}{_DEVICE}"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on drawing from `states`, by generator."""
    torch.set_rng_state(states[_TORCH])
    *keys, position, has_gauss, cached = states[_NUMPY].tolist()
    words = np.array(keys, dtype=np.uint32)
    np.random.set_state(("MT19937", words, int(position), int(has_gauss), cached))  # noqa: NPY002 - as above
    version, *rest, gauss = states[_PYTHON].tolist()
    random.setstate((int(version), tuple(map(int, rest)), None if math.isnan(gauss) else gauss))
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[_DEVICE], device)


def seed_all(seed: int) -> None:
    """Begin all of these generators anew."""
    torch.manual_seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002 - as above
    random.seed(seed)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of `tensors` whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
