"""A digest of all that a fragment has merged. Equal digests mean equal outer states; a frame carries the one it grew from.

This finds sites that began from different models or plans, resumed from different states, or merged the frames of
different cohorts, when the next frame arrives, at no cost: the checksums of frames are known anyway.
"""

import hashlib
from collections.abc import Iterable, Sequence

from torch import Tensor

from workloads.spec.plan import Plan
from workloads.sync.frame import Frame


def state_digest(*tensors: Tensor) -> str:
    """SHA-256 of the values of `tensors`, contiguous, on the CPU."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().numpy().data)
    return digest.hexdigest()


def first_history(state: str, fragment: int, sites: Sequence[str], plan: Plan) -> str:
    """The digest before any turn of `fragment`: of its `state_digest`, the cohort in its order and the plan's rounds."""
    rounds = " ".join(part.model_dump_json() for part in plan.rounds)
    settings = f"{','.join(sites)} {fragment}/{plan.fragments} {plan.bits} {rounds} {state}"
    return hashlib.sha256(settings.encode()).hexdigest()


def next_history(history: str, frames: Iterable[Frame]) -> str:
    """The digest after `frames`, those of one turn in the cohort's order, were merged upon `history`."""
    digest = hashlib.sha256(history.encode())
    for frame in frames:
        digest.update(f" {frame.header.site} {frame.header.samples} {frame.header.checksum}".encode())
    return digest.hexdigest()


def turn_digest(turn: int, digests: Sequence[str]) -> str:
    """The digest of a whole outer state after `turn`, from its fragments' `state_digest`s."""
    return hashlib.sha256(f"{turn} {' '.join(digests)}".encode()).hexdigest()
