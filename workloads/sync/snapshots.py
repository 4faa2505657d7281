"""Parameters as they were when a turn was begun, in memory that later turns use again."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Snapshots:
    """Copies of at most `size` values of `dtype`, by turn."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self._size = size
        self._dtype = dtype
        self._kept: dict[int, tuple[Tensor, int]] = {}  # memory, and how much of it is used
        self._spare: list[Tensor] = []

    def __contains__(self, turn: int) -> bool:
        return turn in self._kept

    def __getitem__(self, turn: int) -> Tensor:
        memory, size = self._kept[turn]
        return memory[:size]

    def take(self, turn: int, local: Tensor) -> Tensor:
        """Copy `local`, and return the copy."""
        memory = self._spare.pop() if self._spare else torch.empty(self._size, dtype=self._dtype)
        self._kept[turn] = memory, local.numel()
        return self[turn].copy_(local)

    def drop(self, turns: Iterable[int]) -> None:
        """Forget those of `turns`, as far as they are kept."""
        self._spare += [self._kept.pop(turn)[0] for turn in list(turns) if turn in self._kept]
