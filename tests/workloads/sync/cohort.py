"""Sites of a test: exchanges on loopback, and their rounds side by side in threads."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from tests.kit.ports import free_ports
from workloads.spec.base import Credentials, Endpoint
from workloads.sync import Exchange
from workloads.sync.frame import Frame
from workloads.sync.quantise import quantise
from workloads.sync.wire import Patience

RUN = "run-1"
HISTORY = "0" * 64
HANG_S = 30.0  # nothing takes so long
QUICK = Patience(
    poll_s=1,
    retry_s=0.01,
    longest_retry_s=0.1,
    connect_s=2,
    keepalive_s=1,
    keepalive_wait_s=1,
    confer_s=1,
    relay_s=1,
    farewell_s=1,
)

Result = TypeVar("Result")


def together(*calls: Callable[[], Result]) -> list[Result]:
    """Results of `calls`, made at the same time. The first one that fails is the one that is told."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]


def ports_of(*sites: str) -> dict[str, int]:
    """A free port for each site."""
    return dict(zip(sites, free_ports(len(sites)), strict=True))


def make_exchange(
    site: str,
    ports: Mapping[str, int],
    *,
    via: Mapping[str, int] | None = None,
    credentials: Credentials | None = None,
    run_id: str = RUN,
    max_frame_bytes: int = 1 << 24,
    part: int = 0,
    fragments: int = 1,
    patience: Patience = QUICK,
    checkpoint_rounds: int = 1,
    spool: Path | None = None,
) -> Exchange:
    """The exchange of `site` among the sites of `ports`; a peer in `via` is reached through that port."""
    return Exchange(
        run_id=run_id,
        site=site,
        listen=Endpoint(port=ports[site]),
        peers={peer: Endpoint(port=port) for peer, port in {**ports, **(via or {})}.items() if peer != site},
        credentials=credentials,
        max_frame_bytes=max_frame_bytes,
        part=part,
        fragments=fragments,
        patience=patience,
        checkpoint_rounds=checkpoint_rounds,
        spool=spool,
    )


def make_frame(
    site: str,
    round_number: int,
    values: Tensor,
    *,
    fragment: int = 0,
    fragments: int = 1,
    shard: int = 0,
    run_id: str = RUN,
    bits: int = 8,
) -> Frame:
    """A frame of one sample."""
    return Frame.of(
        quantise(values, bits),
        run_id=run_id,
        site=site,
        round_number=round_number,
        fragment=fragment,
        fragments=fragments,
        shard=shard,
        samples=1,
        history=HISTORY,
    )
