"""What the first rank of a site does besides training: it tells, looks through checkpoints, and ends the run."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from time import time

from workloads.spec.events import NoteEvent
from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.trainer.checkpoints import CheckpointStore, Outcome, Progress
from workloads.trainer.evaluation import Tally
from workloads.trainer.hooks import EVENTS, Console, EventLog, Hook
from workloads.trainer.summary import SiteSummary, Summaries
from workloads.trainer.watching.prometheus import SiteMetrics
from workloads.trainer.watching.tracking import Tracking


class Lead:
    """The first rank's side of a site's run; `hooks` after `console` and `log` are for those who watch."""

    def __init__(
        self,
        launch: LaunchSpec,
        site: SiteLaunch,
        store: CheckpointStore,
        log: EventLog,
        console: Console,
        metrics: SiteMetrics,
        *watchers: Hook,
    ) -> None:
        self._launch = launch
        self._site = site
        self._others = [peer for peer in launch.sites if peer.name != site.name]
        self._store = store
        self._summaries = Summaries(launch)
        self._log = log
        self._console = console
        self._metrics = metrics
        self._resumed_at = 0
        self.hooks: tuple[Hook, ...] = (console, log, metrics, *watchers)

    def usable_rounds(self) -> list[int]:
        """Rounds with a checkpoint that verifies; every other is told of."""
        return self._store.usable_rounds(self.note)

    def is_alone_at_the_end(self, usable: list[int]) -> bool:
        """Whether this site is at its last round, and the others, who are done, may be gone."""
        return usable[-1:] == [len(self._launch.plan.rounds)] and self._summaries.others_are_done(self._site.name)

    def say_who_is_awaited(self) -> None:
        """A line for who sits before the console."""
        if self._others:
            self._console.say(f"waiting for {', '.join(peer.name for peer in self._others)}")

    def go_on(self, progress: Progress) -> None:
        """Training goes on from `progress`: forget what comes after it."""
        self._summaries.take_back(self._site.name)
        self._store.discard_after(progress.round)
        self._log.rewind(progress.round, progress.step)
        self._resumed_at = progress.round
        if progress.round:
            self.note(f"training resumes after round {progress.round} of {len(self._launch.plan.rounds)}")

    def note(self, text: str) -> None:
        """Tell a person and the log."""
        event = NoteEvent(t=time(), site=self._site.name, text=text)
        for hook in self.hooks:
            hook.note(event)

    def checkpointed(self, outcome: Outcome) -> None:
        """A state became durable, or did not."""
        if outcome.fault is None:
            self._metrics.checkpointed(time())
        else:
            self.note(
                f"the checkpoint of round {outcome.round} was not kept: {outcome.fault}; "
                "training goes on, and earlier ones are kept"
            )

    def conclude(
        self,
        progress: Progress,
        sums: Tally,
        *,
        data_digest: str,
        state_digest: str,
        refused: Counter[str],
        peak_memory_bytes: int,
    ) -> None:
        """Leave this site's summary."""
        self._summaries.leave(
            SiteSummary(
                run_id=self._launch.run_id,
                site=self._site.name,
                data_digest=data_digest,
                outer_state_digest=state_digest,
                tally=sums,
                steps=progress.step,
                samples=progress.samples - progress.lost_samples,
                lost_samples=progress.lost_samples,
                wall_s=progress.wall_s,
                wait_s=progress.wait_s,
                bytes_sent=progress.bytes_sent,
                wire_bytes_sent=progress.wire_bytes_sent,
                refused_frames=dict(refused),
                resumed_at_round=self._resumed_at,
                peak_memory_bytes=peak_memory_bytes,
            )
        )

    def await_summaries(self, names: tuple[str, ...]) -> dict[str, SiteSummary]:
        """The summaries of sites `names`, once all are there."""
        return self._summaries.wait_for([site.name for site in self._launch.sites if site.name in names])


@contextmanager
def open_lead(
    launch: LaunchSpec, site: SiteLaunch, store: CheckpointStore, refused: Callable[[], Mapping[str, int]]
) -> Iterator[Lead]:
    """The lead of `site`. `refused` gives the frames refused so far by reason, to any thread.

    Raises:
        UserError: the port for metrics is in use.
    """
    with ExitStack() as stack:
        console = Console(launch.recipe.train, launch.plan)

        def say(text: str) -> None:
            console.say(f"note: {text}")

        log = stack.enter_context(closing(EventLog(site.work / EVENTS)))
        metrics = stack.enter_context(closing(SiteMetrics(launch, site, refused, say)))
        watchers: list[Hook] = []
        if launch.tracking is not None:
            watchers.append(stack.enter_context(closing(Tracking(launch, site, launch.tracking, say))))
        yield Lead(launch, site, store, log, console, metrics, *watchers)
