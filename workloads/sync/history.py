"""A digest of all that a site has merged. Equal digests mean equal outer states; a frame carries the one it grew from.

This finds sites that began from different models or settings, or resumed from different states, when their first frame
arrives, at no cost: the checksums of frames are known anyway, and the state itself is hashed just once.
"""

import hashlib
from collections.abc import Iterable, Sequence

from torch import Tensor

from workloads.spec.recipe import OuterSpec
from workloads.sync.frame import Frame


def first_history(initial: Tensor, sites: Sequence[str], outer: OuterSpec) -> str:
    """The digest before any round, of `initial` [P] on the CPU, the cohort in its order and the outer settings."""
    digest = hashlib.sha256(f"{','.join(sites)} {outer.digest()} {initial.dtype} ".encode())
    digest.update(initial.contiguous().numpy().data)
    return digest.hexdigest()


def next_history(history: str, frames: Iterable[Frame]) -> str:
    """The digest after `frames`, those of one round in the cohort's order, were merged upon `history`."""
    digest = hashlib.sha256(history.encode())
    for frame in frames:
        digest.update(f" {frame.header.site} {frame.header.samples} {frame.header.checksum}".encode())
    return digest.hexdigest()
