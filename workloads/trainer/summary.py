"""What one site tells the first site at the end: sums, counts and digests, never a sample.

It is a small file in the site's own work folder. The exchange is not used for it: what that can carry is outer state
and nothing else, which is what keeps data from leaving a site, and a run's figures are no reason to widen it.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from workloads.spec.base import Frozen, Name, Sha256, SiteName
from workloads.spec.launch import SiteLaunch
from workloads.trainer.evaluation import Tally

SUMMARY = "evaluation.json"

_POLL_S = 0.05


class SiteSummary(Frozen):
    """One site's part in a finished run. It is there only once the site has committed the last round."""

    run_id: Name
    site: SiteName
    outer_state_digest: Sha256
    tally: Tally
    steps: PositiveInt
    samples: PositiveInt  # whose learning was merged
    lost_samples: NonNegativeInt = 0  # trained on besides, and given up when the site was healed
    wall_s: float
    wait_s: Annotated[float, Field(ge=0)]
    bytes_sent: NonNegativeInt
    wire_bytes_sent: NonNegativeInt
    refused_frames: dict[str, NonNegativeInt]
    resumed_at_round: NonNegativeInt
    peak_memory_bytes: PositiveInt


def summary_path(site: SiteLaunch) -> Path:
    """Where `site` leaves its summary."""
    return site.work / SUMMARY


def others_are_done(others: Sequence[SiteLaunch]) -> bool:
    """Whether every one of `others` has left its summary: it has all that it needs."""
    return all(summary_path(site).is_file() for site in others)


def await_summaries(sites: Sequence[SiteLaunch]) -> dict[str, SiteSummary]:
    """Summaries by site, once all are there: a site that is still in the last round needs what the others serve."""
    while not all(summary_path(site).is_file() for site in sites):
        time.sleep(_POLL_S)
    return {site.name: SiteSummary.load(summary_path(site)) for site in sites}
