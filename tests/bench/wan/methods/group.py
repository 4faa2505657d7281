"""PyTorch's process group between the two sites, over the interface that the job names."""

import datetime as dt
import os

from torch import Tensor, distributed, nn
from torch.nn.utils import parameters_to_vector

from tests.bench.wan.jobs import SITES, Job

PATIENCE = dt.timedelta(minutes=10)


def join(job: Job, site: int) -> None:
    """Make the default group."""
    os.environ["GLOO_SOCKET_IFNAME"] = job.device
    store = distributed.TCPStore(
        job.hosts[0], job.ports[0], world_size=len(SITES), is_master=site == 0, timeout=PATIENCE
    )
    distributed.init_process_group("gloo", store=store, rank=site, world_size=len(SITES), timeout=PATIENCE)


def leave() -> None:
    """End it, the sites together: the first holds the store."""
    distributed.barrier()
    distributed.destroy_process_group()


def flat(model: nn.Module) -> Tensor:
    """A copy of all parameters [count]."""
    return parameters_to_vector(model.parameters()).detach()
