"""DDP: gradients are averaged in every step, as they are or squeezed by one of PyTorch's own hooks."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from tests.bench.wan.jobs import Job
from tests.bench.wan.methods.group import flat, join, leave

_RANK = 4
_PLAIN_STEPS = 2  # the least that PowerSGD's hook allows with error feedback
_BUCKETS_SETTLED = 2  # DDP lays its buckets anew after the first step


class LockStep:
    """One step is one merge."""

    def __init__(self, job: Job, site: int, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        del optimizers  # they step as they are
        join(job, site)
        # PowerSGD sends on from callbacks, whose order among several buckets the sites would not agree on
        whole_mb = math.ceil(4 * sum(p.numel() for p in model.parameters()) / 2**20)
        # equal weights are there already, and buffers are masks
        self.model: nn.Module = DistributedDataParallel(
            model,
            init_sync=False,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            bucket_cap_mb=whole_mb if job.method.kind == "powersgd" else None,
        )
        self.settled = _BUCKETS_SETTLED
        self._inner = model
        if job.method.kind == "fp16":
            self.model.register_comm_hook(None, fp16_compress_hook)
        elif job.method.kind == "powersgd":
            state = PowerSGDState(None, matrix_approximation_rank=_RANK, start_powerSGD_iter=_PLAIN_STEPS)
            self.model.register_comm_hook(state, powerSGD_hook)
            self.settled = _PLAIN_STEPS + _BUCKETS_SETTLED

    def stepped(self, step: int) -> bool:
        return True

    def shared(self) -> Tensor:
        return flat(self._inner)

    def close(self) -> None:
        leave()
