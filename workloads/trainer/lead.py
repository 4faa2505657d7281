"""What the first rank of a site does besides training: it speaks with the other sites, keeps checkpoints and tells."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from time import time

from torch import Tensor, nn

from workloads.spec.events import NoteEvent
from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.sync import Exchange, Synchronizer
from workloads.trainer.checkpoint import CheckpointStore, Progress
from workloads.trainer.evaluation import Tally
from workloads.trainer.hooks import EVENTS, Console, EventLog, Hook
from workloads.trainer.state import flatten
from workloads.trainer.summary import SiteSummary, await_summaries, summary_path

_LOOK_AGAIN_S = 1.0


class Lead:
    """The first rank's side of a site's run."""

    def __init__(
        self, launch: LaunchSpec, site: SiteLaunch, store: CheckpointStore, exchange: Exchange, initial: Tensor
    ) -> None:
        self._launch = launch
        self._site = site
        self._others = [peer for peer in launch.sites if peer.name != site.name]
        self._store = store
        self._exchange = exchange
        self._console = Console(launch.recipe.train)
        self._log = EventLog(site.work / EVENTS)
        self._start = Progress()
        self.hooks: tuple[Hook, ...] = (self._console, self._log)
        self.synchronizer = Synchronizer(
            site=site.name,
            sites=[peer.name for peer in launch.sites],
            initial=initial,
            outer=launch.recipe.train.outer,
            exchange=exchange,
        )

    def close(self) -> None:
        """Close the log; the exchange is its opener's."""
        self._log.close()

    def agree_on_round(self) -> int:
        """The newest round that every site has a usable checkpoint of, 0 for none; waits for all sites."""
        usable = self._store.usable_rounds(self.note)
        last = self._launch.recipe.train.rounds
        if usable[-1:] == [last] and self._others_are_done():
            return last  # they may be gone
        if self._others:
            self._console.say(f"waiting for {', '.join(peer.name for peer in self._others)}")
        return self._exchange.rendezvous(usable, None)

    def resume(self, progress: Progress, outer: Mapping[str, Tensor] | None) -> None:
        """Go on from `progress`; `outer` is the merge's state there, None for a fresh start."""
        summary_path(self._site).unlink(missing_ok=True)  # of an earlier attempt that was not published
        self._store.discard_after(progress.round)
        self._log.rewind(progress.round, progress.step)
        self._start = progress
        if outer is not None:
            self.synchronizer.load_state_dict(dict(outer))
            self.note(f"training resumes after round {progress.round} of {self._launch.recipe.train.rounds}")

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Make a state durable."""
        self._store.save(self._with_wire_bytes(progress), tensors)

    def note(self, text: str) -> None:
        """Tell a person and the log."""
        event = NoteEvent(t=time(), site=self._site.name, text=text)
        for hook in self.hooks:
            hook.note(event)

    def conclude(self, progress: Progress, sums: Tally, peak_memory_bytes: int) -> dict[str, SiteSummary]:
        """Leave this site's summary and wait for the others', serving them what they still need meanwhile."""
        while not (self._exchange.drain(_LOOK_AGAIN_S) or self._others_are_done()):
            continue
        final = self._with_wire_bytes(progress)
        SiteSummary(
            run_id=self._launch.run_id,
            site=self._site.name,
            outer_state_digest=self.synchronizer.digest(),
            tally=sums,
            steps=final.step,
            samples=final.samples,
            wall_s=final.wall_s,
            wait_s=final.wait_s,
            bytes_sent=final.bytes_sent,
            wire_bytes_sent=final.wire_bytes_sent,
            refused_frames=dict(self._exchange.refused),
            resumed_at_round=self._start.round,
            peak_memory_bytes=peak_memory_bytes,
        ).save(summary_path(self._site))
        return await_summaries(self._launch.sites)

    def _others_are_done(self) -> bool:
        return all(summary_path(peer).is_file() for peer in self._others)

    def _with_wire_bytes(self, progress: Progress) -> Progress:
        wire_bytes = self._start.wire_bytes_sent + self._exchange.wire_bytes_sent
        return progress.model_copy(update={"wire_bytes_sent": wire_bytes})


@contextmanager
def open_lead(launch: LaunchSpec, site: SiteLaunch, model: nn.Module, store: CheckpointStore) -> Iterator[Lead]:
    """The lead of `site`, its exchange started. `model` has the parameters that every site begins with.

    Raises:
        UserError: the exchange's port is in use, or plain text is asked for off loopback.
    """
    initial = flatten(model)
    exchange = Exchange(
        run_id=launch.run_id,
        site=site.name,
        listen=site.listen,
        peers=site.peers,
        credentials=site.credentials,
        max_frame_bytes=initial.nbytes,
    )
    exchange.start()
    with closing(exchange), closing(Lead(launch, site, store, exchange, initial)) as lead:
        yield lead
