"""How far a synchronizer is, apart from its tensors, and how that is kept in a state of tensors alone."""

from collections.abc import Iterable, Mapping

import torch
from pydantic import NonNegativeInt, PositiveInt, ValidationError
from torch import Tensor

from workloads.spec.base import Frozen, Sha256, SiteName
from workloads.spec.errors import explain
from workloads.sync.frame import Frame, RefusedError, decode_frame, encode_frame

PROGRESS = "progress"
_FRAME = "frame"


class TurnReport(Frozen):
    """A committed turn: samples by site, payload of its frames as seen from here, and time spent waiting for them."""

    turn: PositiveInt
    round: PositiveInt
    fragment: NonNegativeInt
    samples: dict[str, int]
    bytes_sent: NonNegativeInt
    bytes_received: NonNegativeInt
    wait_s: float = 0.0


class Cohort(Frozen):
    """The sites whose frames are merged from `from_turn` on, in order."""

    from_turn: PositiveInt
    sites: tuple[SiteName, ...]


class Progress(Frozen):
    """Turns begun, merged into the outer state and committed, and what the next ones go on from."""

    begun: NonNegativeInt = 0
    merged: NonNegativeInt = 0
    committed: NonNegativeInt = 0
    offered: tuple[NonNegativeInt, ...]  # by fragment: samples trained when it was last begun
    histories: tuple[Sha256, ...]  # by fragment
    digests: tuple[Sha256, ...]  # by fragment: of its outer state as committed
    cohorts: tuple[Cohort, ...]  # by their first turn
    reports: tuple[tuple[TurnReport, Sha256], ...] = ()  # of turns merged and not committed, with their digests

    def encoded(self) -> dict[str, Tensor]:
        """As uint8 [bytes], for a state."""
        return {PROGRESS: torch.frombuffer(bytearray(self.model_dump_json().encode()), dtype=torch.uint8)}


def decode_progress(state: Mapping[str, Tensor], fragments: int) -> Progress:
    """The progress in `state`, of a part of `fragments` fragments. Raises `ValueError`."""
    if PROGRESS not in state:
        raise ValueError(f"state has no {PROGRESS}")
    try:
        progress = Progress.model_validate_json(state[PROGRESS].numpy().tobytes())
    except ValidationError as error:
        raise ValueError(explain(error, f"state's {PROGRESS}")) from None
    if len(progress.histories) != fragments:
        raise ValueError(f"state is of {len(progress.histories)} fragments, the plan has {fragments}")
    return progress


def encode_frames(frames: Iterable[Frame]) -> dict[str, Tensor]:
    """`frames` by name, for a state."""
    return {f"{_FRAME}.{frame.turn}.{part}": tensor for frame in frames for part, tensor in encode_frame(frame).items()}


def decode_frames(state: Mapping[str, Tensor]) -> dict[int, Frame]:
    """The frames in `state`, by turn. Raises `ValueError`."""
    headers = [key for key in state if key.startswith(f"{_FRAME}.") and key.endswith(".header")]
    try:
        frames = [decode_frame(state[key], state[key.removesuffix("header") + "payload"]) for key in headers]
    except (KeyError, RefusedError) as error:
        raise ValueError(f"state has no whole frames: {error}") from None
    return {frame.turn: frame for frame in frames}
