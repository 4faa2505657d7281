"""What sending has not conveyed: error feedback (arXiv 1901.09847) in half the width of the parameters, exactly.

An update's rest `e = d - deq(q)` is kept as `narrow(e)`, and what narrowing would lose, `rho = e - narrow(e)`, stays where
it came from: this site's own parameters are moved by `-rho`, so that the fragment's next difference from the shared ones
has it in it again. `rho` is itself a number of the parameters' type, as any rounding error to fewer bits of the same or a
wider range is, so nothing is lost but what adding it to a parameter rounds.

Rests are far smaller than parameters, and differ by orders of magnitude from one tensor to the next. So float32's are
narrowed to bfloat16, which has all of its range, and not to float16, which ends at 6e-8 and 65504 and would need scales
for its three bits more: they would only make `rho` smaller, which is at most 2^-9 of what is held back.
"""

import torch
from torch import Tensor

from workloads.sync.payload import SLAB, Quantised, UpdateFormat
from workloads.sync.quantise import quantise_slabs

NARROW = {torch.float32: torch.bfloat16, torch.float64: torch.float32}


class Residual:
    """What of `size` parameters of `dtype` is held back: `values` [size], of half their width."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self.values = torch.zeros(size, dtype=NARROW[dtype])

    def send(
        self, form: UpdateFormat, where: slice, shared: Tensor, snapshot: Tensor, *, is_last: bool = False
    ) -> Quantised:
        """`shared - snapshot`, both [form.size], with what was held back at `where`: what travels in the format `form`.

        The rest is held back; what does not fit there is added to `snapshot`, for `theta = g + (theta - snapshot)` to take
        it from the parameters. Not if it `is_last`: nothing will be sent any more, and sites shall end alike.

        Raises:
            NonFiniteError: a value is not finite; what is held back is spoilt.
        """
        held = self.values[where]
        memory = torch.empty(min(form.size, SLAB), dtype=form.dtype)

        def read(part: slice) -> Tensor:
            values = memory[: part.stop - part.start]
            return torch.sub(shared[part], snapshot[part], out=values).add_(held[part])

        def keep(part: slice, rest: Tensor) -> None:
            held[part] = rest
            if not is_last:
                snapshot[part].add_(rest.sub_(held[part]))

        return quantise_slabs(form, read, keep)
