"""Where a site stands in its plan. Steps are counted from the newest merge: what an outage added stays out of it."""

from itertools import accumulate

from workloads.spec.plan import Plan


class Pacing:
    """The plan's rounds as counts of steps."""

    def __init__(self, plan: Plan) -> None:
        self._lengths = [part.steps for part in plan.rounds]
        self._ends = (0, *accumulate(self._lengths))
        self._overlap = plan.overlap_steps
        self.rounds = len(plan.rounds)

    @property
    def steps(self) -> int:
        """Of the whole run, without those that an outage may add."""
        return self._ends[-1]

    def length(self, number: int) -> int:
        """Planned steps of round `number`, counted from 1."""
        return self._lengths[number - 1]

    def steps_made(self, committed: int, since: int) -> int:
        """Planned steps that are behind a site which has made `since` steps since round `committed` was merged."""
        if committed >= self.rounds:
            return self.steps
        return self._ends[committed] + min(since, self._lengths[committed])

    def steps_ahead(self, committed: int, since: int) -> int:
        """Of those, the steps since the next merge was due; 0 when all is well.

        Merges are a round apart; the first comes later by the overlap.
        """
        if committed >= self.rounds:
            return 0
        late = self._overlap if committed == 0 else 0
        return max(0, since - self._lengths[committed] - late)
