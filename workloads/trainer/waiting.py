"""How a site waits for the frames of a turn: until the deadline, and then beside training on. All ranks wait together."""

import time

from workloads.trainer.cohort import SiteCohort
from workloads.trainer.rounds import SiteRounds
from workloads.trainer.telling import Teller

_LOOK_S = 1.0  # between two looks at the cohort


class Waiting:
    """`alone` are the steps made since a turn was missed; None: none is missed."""

    def __init__(self, rounds: SiteRounds, cohort: SiteCohort, teller: Teller, deadline_s: float) -> None:
        self.alone: int | None = None
        self._rounds = rounds
        self._cohort = cohort
        self._teller = teller
        self._deadline_s = deadline_s

    def has_arrived(self, round_number: int, *, is_last: bool) -> bool:
        """Whether the oldest pending turn, one of round `round_number`, can be committed now.

        It is waited for until the deadline. After that it is only looked for each step, and waited for again once all
        steps are made and it `is_last`.
        """
        if self.alone is not None:
            if not self._rounds.arrived(_LOOK_S if is_last else 0.0):
                return False
            if not is_last:
                self._teller.note(f"the link is back after {self.alone} steps alone")
            self.alone = None
            return True
        started = time.monotonic()
        while not self._rounds.arrived(min(_LOOK_S, self._deadline_s)):
            if self._cohort.tend():
                return False
            if self._teller.agree(time.monotonic() - started >= self._deadline_s):
                silence = f"round {round_number}: no word from every site within {self._deadline_s:g} s"
                now = (
                    "all steps are made, waiting for the link"
                    if is_last
                    else "training on alone until the link is back"
                )
                self._teller.note(f"{silence}; {now}")
                self.alone = 0
                return False
        return True

    def has_arrived_again(self, round_number: int) -> bool:
        """Wait for a turn that was committed at this very step before; False: the others went on without this site."""
        started, is_told = time.monotonic(), False
        while not self._rounds.arrived(_LOOK_S):
            if self._cohort.tend():
                return False
            if not is_told and self._teller.agree(time.monotonic() - started >= self._deadline_s):
                is_told = True
                self._teller.note(f"round {round_number}: waiting for frames that were here before this site stopped")
        return True
