"""A site of two in a process of its own: `round_memory.py SITE PORTS SIZE BITS FRAGMENTS MOMENTUM` prints its peak memory.

In multiples of the parameters in fp32, beyond what the model, its flat copy and rounds of a tiny model take: these load
some 20 MB of libraries' code, whatever the model's size.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from workloads.spec.base import Endpoint
from workloads.spec.plan import Layout, Plan, RoundPlan, SitePlan
from workloads.sync import Exchange, Synchronizer

ROUNDS = 5  # frames that are kept for peers have reached their number
TINY = 100_000
KIB = 1024


def peak_kib() -> int:
    """The process's peak resident memory since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def run_rounds(site: str, ports: dict[str, int], plan: Plan, model: Tensor, local: Tensor) -> int:
    """Train `local` through all rounds of `plan`. Returns the memory in use before the first, in KiB."""
    fragments = plan.fragments
    peers = {name: Endpoint(port=port) for name, port in ports.items() if name != site}
    with (
        TemporaryDirectory() as spool,
        Exchange(
            run_id=f"bench-{model.numel()}",
            site=site,
            listen=Endpoint(port=ports[site]),
            peers=peers,
            credentials=None,
            max_frame_bytes=4 * model.numel(),
            fragments=fragments,
            spool=Path(spool),
        ) as exchange,
    ):
        forget_peak()
        before = peak_kib()
        rounds = Synchronizer(site=site, sites=sorted(ports), initial=model, plan=plan, exchange=exchange)
        for turn in range(1, ROUNDS * fragments + 1):
            where = rounds.next_fragment
            local[where] += 0.01
            rounds.begin(local[where], turn)
            rounds.arrived(None)
            rounds.commit()
            rounds.merge(local[where])
        exchange.drain(None)
        return before


def main(site: str, ports: dict[str, int], size: int, bits: int, fragments: int, momentum: float) -> None:
    torch.set_num_threads(1)
    plan = Plan(
        rounds=(RoundPlan(steps=10, lr=0.7, momentum=momentum),) * ROUNDS,
        overlap_steps=1,
        bits=bits,
        fragments=fragments,
        sites={name: SitePlan(layout=Layout(), batch=1, micro_batch=1) for name in ports},
    )
    run_rounds(site, ports, plan, torch.zeros(TINY), torch.zeros(TINY))
    model, local = torch.randn(size, generator=torch.Generator().manual_seed(1)), torch.empty(size)
    local.copy_(model)
    before = run_rounds(site, ports, plan, model, local)
    print((peak_kib() - before) * KIB / (4 * size))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
