"""Post-local SGD (arXiv 1808.07217) by PyTorch's own parts: a few common steps, then parameters averaged every H steps."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from tests.bench.wan.jobs import Job
from tests.bench.wan.methods.group import flat, join, leave

_COMMON_STEPS = 4


class PostLocal:
    """The first steps as DDP, later ones alone; hook and averager each count for themselves."""

    def __init__(self, job: Job, site: int, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        del optimizers  # they step as they are
        join(job, site)
        state = PostLocalSGDState(None, None, _COMMON_STEPS, post_local_gradient_allreduce=False)
        self._averager = PeriodicModelAverager(job.method.period, warmup_steps=_COMMON_STEPS)
        self._inner = model
        wrapped = DistributedDataParallel(model, init_sync=False, broadcast_buffers=False, gradient_as_bucket_view=True)
        wrapped.register_comm_hook(state, post_localSGD_hook)
        self.model: nn.Module = wrapped
        self.settled = _COMMON_STEPS + 1

    def stepped(self, step: int) -> bool:
        self._averager.average_parameters(list(self._inner.parameters()))
        return step <= _COMMON_STEPS or (step - 1 - _COMMON_STEPS) % self._averager.period == 0

    def shared(self) -> Tensor:
        return flat(self._inner)

    def close(self) -> None:
        leave()
