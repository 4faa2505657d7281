"""What a run of sites has left, and whether two runs came out the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file

from tests.kit.worlds import TWO_SITES
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent, read_events
from workloads.trainer.summary import SiteSummary

E = TypeVar("E", StepEvent, RoundEvent, NoteEvent)


def summaries(folder: Path, sites: Sequence[str] = TWO_SITES) -> list[SiteSummary]:
    """The summaries of `sites` of the run in `folder`."""
    return [SiteSummary.load(folder / site / "work" / "evaluation.json") for site in sites]


def events(folder: Path, site: str, kind: type[E]) -> list[E]:
    """The events of one `kind` that `site` has logged."""
    return [event for event in read_events(folder / site / "work" / "events.jsonl") if isinstance(event, kind)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The trained model of the run in `folder`."""
    return load_file(folder / "output" / "trained" / "model.safetensors")


def assert_same_outcome(undisturbed: Path, folder: Path, sites: Sequence[str] = TWO_SITES) -> None:
    """Bit-identical: outer state, weights, and every step's loss."""
    digests, again = (
        [summary.outer_state_digest for summary in summaries(place, sites)] for place in (undisturbed, folder)
    )
    assert digests == again
    trained, retrained = weights(undisturbed), weights(folder)
    assert all(torch.equal(trained[name], retrained[name]) for name in trained)
    for site in sites:
        steps, steps_again = (
            [(event.step, event.loss) for event in events(place, site, StepEvent)] for place in (undisturbed, folder)
        )
        assert steps == steps_again
