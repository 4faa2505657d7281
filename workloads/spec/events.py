"""`events.jsonl` of a site: one JSON object a line, appended as training goes, read by the report and by progress views."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from workloads.spec.base import Frozen, SiteName


class StepEvent(Frozen):
    """One inner step."""

    event: Literal["step"] = "step"
    t: float  # seconds since the epoch
    site: SiteName
    step: PositiveInt
    loss: float
    samples: PositiveInt  # in this step
    seconds: float
    samples_per_s: float | None = None
    mfu: float | None = None  # model FLOPs utilisation; None: the site's speed is not known
    lr: float | None = None
    grad_norm: float | None = None  # before clipping; None: gradients are not clipped


class RoundEvent(Frozen):
    """One committed round: validation on what was not trained on, and the round's use of the link."""

    event: Literal["round"] = "round"
    t: float
    site: SiteName
    round: PositiveInt  # 1 is the first
    rounds: PositiveInt
    epoch: PositiveInt
    loss: float
    metrics: dict[str, float]
    bytes_sent: NonNegativeInt
    bytes_received: NonNegativeInt
    wait_s: float
    seconds: float
    refused: NonNegativeInt = 0  # frames since the round before, whatever the reason


class NoteEvent(Frozen):
    """Something a reader of the run should know: a resumption, a refused checkpoint, an outage."""

    event: Literal["note"] = "note"
    t: float
    site: SiteName
    text: str


Event = Annotated[StepEvent | RoundEvent | NoteEvent, Field(discriminator="event")]
_EVENT: TypeAdapter[StepEvent | RoundEvent | NoteEvent] = TypeAdapter(Event)


def read_events(path: Path) -> Iterator[StepEvent | RoundEvent | NoteEvent]:
    """Events in order. A last line that a kill tore in two is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield _EVENT.validate_json(line)
