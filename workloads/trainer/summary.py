"""What one site tells the others at the end: sums, counts and digests, never a sample.

It is a small file in the site's own work folder, or in the store that sites share whose folders lie apart. The exchange
is not used for it: what that can carry is outer state and nothing else, which is what keeps data from leaving a site,
and a run's figures are no reason to widen it.
"""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from workloads.delivery.runs import SharedRun
from workloads.spec.base import Frozen, Name, Sha256, SiteName
from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec
from workloads.trainer.evaluation import Tally

SUMMARY = "evaluation.json"

_POLL_S, _STORE_POLL_S = 0.05, 5.0


class SiteSummary(Frozen):
    """One site's part in a finished run. It is there only once the site has committed the last round."""

    run_id: Name
    site: SiteName
    data_digest: Sha256
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


class Summaries:
    """The summaries of a run's sites.

    Raises:
        UserError: the shared store cannot be reached or refuses. `are_there` waits it out: sites come and go.
    """

    def __init__(self, launch: LaunchSpec) -> None:
        self._launch = launch
        self._shared = SharedRun(launch.shared, launch.run_id) if launch.shared is not None else None

    def leave(self, summary: SiteSummary) -> None:
        """Tell the others that a site has committed the last round, and what it came to there."""
        if self._shared is not None:
            self._shared.tell(summary.site, summary)
        else:
            summary.save(self._path(summary.site))

    def take_back(self, site: str) -> None:
        """Remove the summary of an earlier attempt that was not published."""
        if self._shared is not None:
            self._shared.take_back(site)
        else:
            self._path(site).unlink(missing_ok=True)

    def are_there(self, sites: Collection[str]) -> bool:
        """Whether every one of `sites` has left its summary: it has all that it needs."""
        if self._shared is None:
            return all(self._path(site).is_file() for site in sites)
        try:
            return all(self._shared.told(site) is not None for site in sites)
        except UserError:  # the way to it is down, for now
            return False

    def others_are_done(self, site: str) -> bool:
        """Whether all sites but `site` have left their summaries."""
        return self.are_there([each.name for each in self._launch.sites if each.name != site])

    def wait_for(self, sites: Collection[str]) -> dict[str, SiteSummary]:
        """Summaries by site, once all are there: a site that is still in the last round needs what the others serve."""
        while not self.are_there(sites):
            time.sleep(_POLL_S if self._shared is None else _STORE_POLL_S)
        return {site: self._load(site) for site in sites}

    def _load(self, site: str) -> SiteSummary:
        if self._shared is None:
            return SiteSummary.load(self._path(site))
        return SiteSummary.model_validate_json(self._shared.told(site) or b"")

    def _path(self, site: str) -> Path:
        return self._launch.site(site).work / SUMMARY
