"""torchft's DiLoCo, as its own tests drive it on CPUs: a lighthouse at the first site, a manager at each, gloo between."""

import os
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributed import TCPStore
from torch.optim import SGD, Optimizer
from torchft.coordination import LighthouseServer
from torchft.local_sgd import DiLoCo
from torchft.manager import Manager
from torchft.process_group import ProcessGroupGloo

from tests.bench.wan.jobs import SITES, Job
from tests.bench.wan.methods.group import PATIENCE, flat

# What its trainer in `torchft._test.diloco_trainer` and the paper (arXiv 2311.08105) use.
_OUTER_LR, _OUTER_MOMENTUM = 0.7, 0.9


class TorchftDiLoCo:
    """Merges in the optimizer's own step, by the hooks that torchft puts there."""

    settled = 1

    def __init__(self, job: Job, site: int, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        os.environ["GLOO_SOCKET_IFNAME"] = job.device
        (inner,) = optimizers  # its hooks count the steps of one
        self.model = model
        self._period = job.method.period
        self._lighthouse = LighthouseServer(bind=f"[::]:{job.ports[1]}", min_replicas=len(SITES)) if site == 0 else None
        own = job.endpoint(site)
        self._store = TCPStore(own.host, own.port, is_master=True, wait_for_workers=False, timeout=PATIENCE)
        self._manager: Manager = Manager(
            pg=ProcessGroupGloo(timeout=PATIENCE),
            load_state_dict=model.load_state_dict,
            state_dict=model.state_dict,
            min_replica_size=len(SITES),
            use_async_quorum=False,
            init_sync=False,
            timeout=PATIENCE,
            quorum_timeout=PATIENCE,
            connect_timeout=PATIENCE,
            rank=0,
            world_size=1,
            store_addr=own.host,
            store_port=own.port,
            lighthouse_addr=f"http://{job.hosts[0]}:{job.ports[1]}",
            replica_id=SITES[site],
            hostname=own.host,
        )
        outer = SGD(model.parameters(), lr=_OUTER_LR, momentum=_OUTER_MOMENTUM, nesterov=True)
        self._hooked = DiLoCo(
            self._manager,
            [model],
            inner,
            outer,
            sync_every=self._period,
            use_bucketization=job.method.kind == "torchft-bucket",  # else a collective for each parameter
        )
        self._hooked.__enter__()

    def stepped(self, step: int) -> bool:
        if step % self._period:
            return False
        if self._manager.current_step() != step // self._period:
            raise RuntimeError(f"torchft did not commit at step {step}: {self._manager.errored()}")
        return True

    def shared(self) -> Tensor:
        return flat(self.model)

    def close(self) -> None:
        self._hooked.__exit__(None, None, None)
        self._manager.shutdown(wait=False)
        if self._lighthouse is not None:
            self._lighthouse.shutdown()
