"""The link is cut in the middle of a run, and comes back."""

import time
from dataclasses import dataclass

from tests.lab.daemons import met
from tests.lab.drills.training import Run
from tests.lab.drills.view import View

_ROUNDS_AFTER = 2
_LIMIT_S = 240


@dataclass(frozen=True)
class Outage:
    """What a cut did to a run."""

    seconds: float
    round_at_cut: int
    round_at_mend: int
    steps_alone: float  # that the near site made beyond the round that was due
    round_after: int
    until_merged_s: float  # from the mending to the next merge
    nothing_started_again: bool


def cut_during(view: View, run: Run, seconds: float) -> Outage:
    """Cut for a time, mend, and wait until the sites merge again. The far site cannot be asked meanwhile."""
    near = run.sites[0]
    before, at_cut = run.identities(), run.round(near)
    view.cluster.cut()
    began = time.monotonic()
    try:
        met(lambda: time.monotonic() - began >= seconds, seconds + 1)
        during = run.standing(near)
    finally:
        view.cluster.mend()
    lasted = time.monotonic() - began
    at_mend = int(during.get("round", 0))
    view.say(f"cut for {lasted:.1f} s at round {at_cut}: {near} stands at {during}")
    run.await_round(at_mend + 1, _LIMIT_S, near)
    merged = time.monotonic() - began - lasted
    run.await_round(at_mend + _ROUNDS_AFTER, _LIMIT_S)
    return Outage(
        seconds=round(lasted, 1),
        round_at_cut=at_cut,
        round_at_mend=at_mend,
        steps_alone=during.get("steps_ahead", 0.0),
        round_after=run.round(near),
        until_merged_s=round(merged, 1),
        nothing_started_again=run.identities() == before,
    )
