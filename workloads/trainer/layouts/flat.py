"""The values that a rank holds of a model, as one vector: what it exchanges with its like at other sites.

Every value of the model is in exactly one part. Parameters that a layout keeps whole on all tensor-parallel ranks
(norms, biases) are divided among those for the exchange, in the way of `Shard(0)`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from workloads.trainer.world import REPLICATE, SHARD, TENSOR


@dataclass(frozen=True)
class Piece:
    """One parameter's share of a part. `split`: it is whole on all tensor ranks, of which each takes a chunk."""

    name: str
    parameter: Tensor
    mesh: DeviceMesh | None
    placements: tuple[Placement, ...]
    split: bool

    def chunk(self, tensor: Tensor, rank: int, ranks: int) -> Tensor:
        """What tensor rank `rank` has of `tensor`, the parameter's or its gradient's local values: a view."""
        if not self.split:
            return tensor
        rows = -(-tensor.shape[0] // ranks)
        return tensor[rank * rows : (rank + 1) * rows]


def local(tensor: Tensor) -> Tensor:
    """The values of `tensor` that are on this rank, without history."""
    return cast("DTensor", tensor.detach()).to_local() if isinstance(tensor, DTensor) else tensor.detach()


def settle(parameters: Iterable[Tensor]) -> None:
    """Have each gradient divided as its parameter is: where ranks have terms of a sum, add them up."""
    for parameter in parameters:
        gradient = parameter.grad
        if not (isinstance(gradient, DTensor) and isinstance(parameter, DTensor)):
            continue
        if gradient.placements != parameter.placements:
            parameter.grad = gradient.redistribute(placements=parameter.placements)


class FlatPart:
    """`parameters` of this rank as one vector [size], in their order. `mesh` is the world's."""

    def __init__(self, parameters: Mapping[str, Tensor], mesh: DeviceMesh | None) -> None:
        self._tensor = mesh[TENSOR] if mesh is not None and mesh[TENSOR].size() > 1 else None
        self._rank = self._tensor.get_local_rank() if self._tensor else 0
        self._ranks = self._tensor.size() if self._tensor else 1
        self._pieces = [_piece(name, parameter, mesh, self._ranks) for name, parameter in parameters.items()]
        self._borders = list(accumulate((self._own(piece).numel() for piece in self._pieces), initial=0))

    @property
    def size(self) -> int:
        """Values in the part."""
        return self._borders[-1]

    def read(self, fragment: slice) -> Tensor:
        """Values of `fragment`, fp32 on the CPU, sharing no memory with the parameters."""
        values = [self._own(piece).reshape(-1)[inside] for piece, inside, _ in self._cut(fragment)]
        return torch.cat(values).float().cpu() if values else torch.empty(0)

    def write(self, fragment: slice, values: Tensor) -> None:
        """Set `fragment` to `values`; ranks that hold the same parameters whole get each other's. All call it together."""
        for piece, inside, outside in self._cut(fragment):
            own = self._own(piece)
            flat = own.reshape(-1)
            flat[inside] = values[outside].to(flat)
            if flat.data_ptr() != own.data_ptr():
                own.copy_(flat.view_as(own))
        self._complete()

    def name(self, vector: Tensor) -> dict[str, Tensor]:
        """`vector` [size] by parameter, as views: a DTensor of the parameter's global shape where it is divided.

        So a checkpoint knows what a value belongs to, whatever layout it was saved in.
        """
        named = {}
        for piece, start, end in zip(self._pieces, self._borders, self._borders[1:], strict=False):
            values = vector[start:end].view(self._own(piece).shape)
            if piece.mesh is not None:
                shape, stride = piece.parameter.shape, torch.empty(piece.parameter.shape, device="meta").stride()
                mesh, placements = piece.mesh, piece.placements
                if values.device.type != mesh.device_type:
                    values = values.to(mesh.device_type)
                values = DTensor.from_local(values, mesh, placements, run_check=False, shape=shape, stride=stride)
            named[piece.name] = values
        return named

    def squared_gradients(self) -> Tensor:
        """Sum of the squares of the part's gradients, float64 scalar."""
        squares = [
            piece.chunk(local(piece.parameter.grad), self._rank, self._ranks).double().square().sum()
            for piece in self._pieces
            if piece.parameter.grad is not None
        ]
        return torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64)

    def _own(self, piece: Piece) -> Tensor:
        return piece.chunk(local(piece.parameter), self._rank, self._ranks)

    def _cut(self, fragment: slice) -> Iterator[tuple[Piece, slice, slice]]:
        """Pieces that `fragment` touches, each with the touched slice of the piece and of the fragment's values."""
        start, end, _ = fragment.indices(self.size)
        index = max(0, bisect_right(self._borders, start) - 1)
        while index < len(self._pieces) and self._borders[index] < end:
            low, high = max(start, self._borders[index]), min(end, self._borders[index + 1])
            if low < high:
                offset = self._borders[index]
                yield self._pieces[index], slice(low - offset, high - offset), slice(low - start, high - start)
            index += 1

    def _complete(self) -> None:
        shared = [piece for piece in self._pieces if piece.split]
        if self._tensor is None or not shared:
            return
        chunks = [
            [piece.chunk(local(piece.parameter), rank, self._ranks) for piece in shared] for rank in range(self._ranks)
        ]
        sizes = [sum(chunk.numel() for chunk in of_rank) for of_rank in chunks]
        own = torch.cat([chunk.reshape(-1) for chunk in chunks[self._rank]])
        own = torch.nn.functional.pad(own, (0, max(sizes) - own.numel()))  # a collective wants equal sizes
        gathered = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(gathered, own, group=self._tensor.get_group())
        for of_rank, values in zip(chunks, gathered, strict=True):
            lengths = [chunk.numel() for chunk in of_rank]
            for chunk, new in zip(of_rank, torch.split(values[: sum(lengths)], lengths), strict=True):
                chunk.copy_(new.view_as(chunk))


def _piece(name: str, parameter: Tensor, mesh: DeviceMesh | None, tensor_ranks: int) -> Piece:
    own: DeviceMesh | None = parameter.device_mesh if isinstance(parameter, DTensor) else None
    placements = parameter.placements if isinstance(parameter, DTensor) else ()
    names = tuple((own.mesh_dim_names if own is not None else None) or ())
    if tensor_ranks == 1 or mesh is None:
        return Piece(name, parameter, own, placements, split=False)
    if TENSOR in names:
        at = names.index(TENSOR)
        if not isinstance(placements[at], Replicate):
            return Piece(name, parameter, own, placements, split=False)
        placements = (*placements[:at], Shard(0), *placements[at + 1 :])
        return Piece(name, parameter, own, placements, split=True)
    wider = (*(dim for dim in (REPLICATE, SHARD) if dim in names), TENSOR)
    return Piece(name, parameter, mesh[wider], (*placements, Shard(0)), split=True)
