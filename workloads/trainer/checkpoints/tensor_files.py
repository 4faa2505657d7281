"""Tensors of a checkpoint as files: those that all ranks divide among them, and those of one rank alone.

The first are `torch.distributed.checkpoint`'s, each by a name that means the same in every layout, so what one layout
saves another loads. They are safetensors (`HuggingFaceStorageWriter`), as are the second: no pickle is read or written,
where DCP's own format would have its metadata pickled.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from workloads.trainer.layouts.flat import local

_DIVIDED = "tensors"


def save_divided(folder: Path, tensors: Mapping[str, Tensor], group: ProcessGroup | None) -> None:
    """Write this rank's share of `tensors`, on the CPU; all of `group`, a gloo group, call it together.

    Raises:
        CheckpointException: some rank failed, on every rank; its `failures` say which and how.
        OSError: the only rank failed.
    """
    _quieten()
    writer = HuggingFaceStorageWriter(str(folder / _DIVIDED), save_distributed=True)
    save(dict(tensors), storage_writer=writer, process_group=group, no_dist=group is None)


def load_divided(folder: Path, tensors: Mapping[str, Tensor], group: ProcessGroup | None) -> None:
    """Fill `tensors` with what the folder, which is verified, has under their names; all of `group` call it together.

    Raises:
        CheckpointException: something is missing, or of another size.
    """
    _quieten()
    reader = HuggingFaceStorageReader(str(folder / _DIVIDED))
    load(dict(tensors), storage_reader=reader, process_group=group, no_dist=group is None)


def save_own(folder: Path, tensors: Mapping[str, Tensor], rank: int) -> str:
    """Write what belongs to `rank` alone. Returns the file's name."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / own_file(rank))
    return own_file(rank)


def load_own(folder: Path, rank: int) -> dict[str, Tensor]:
    """What `rank` saved."""
    return load_file(folder / own_file(rank))


def own_file(rank: int) -> str:
    """The name of the file of `rank`."""
    return f"rank-{rank:05d}.safetensors"


def files_of(folder: Path, rank: int, size: int) -> list[str]:
    """What `rank` of `size` has written to `folder`, by name relative to it."""
    prefix = f"shard-{rank + 1:05d}-" if size > 1 else ""
    divided = [f"{_DIVIDED}/{path.name}" for path in sorted((folder / _DIVIDED).glob(f"{prefix}*.safetensors"))]
    return [own_file(rank), *divided]


def staged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of `tensors` on the CPU that training can not change; DTensors stay such."""
    return {name: _staged(tensor) for name, tensor in tensors.items()}


def _staged(tensor: Tensor) -> Tensor:
    copy = local(tensor).contiguous().to("cpu", copy=True)
    if not isinstance(tensor, DTensor):
        return copy
    # `from_local` would take it back to the device of its mesh
    return DTensor(copy, tensor._spec, requires_grad=False)  # noqa: SLF001


def _quieten() -> None:
    # One process alone is what DCP warns of; said by us, it would be no news.
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
