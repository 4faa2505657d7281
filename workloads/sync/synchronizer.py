"""One site's side of the rounds: DiLoCo, weighted by samples, quantised with error feedback, fragment by fragment.

After arXiv 2311.08105 and, for fragments and overlap, 2501.18512. Pure tensors: no model, no data. All sites that were
given the same initial parameters hold the same outer state after every turn, bit for bit. `begin` takes a snapshot; a
worker thread quantises it, publishes it and, when all frames are there, merges them into the outer state; `commit` and
`merge` take over the result.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from workloads.spec.plan import Plan
from workloads.sync.exchange import Exchange
from workloads.sync.merger import Merger
from workloads.sync.outer_state import OuterState
from workloads.sync.payload import UpdateFormat
from workloads.sync.progress import Cohort, TurnReport, decode_frames, decode_progress, encode_frames
from workloads.sync.turns import Turns, missing_snapshots

_STATE, _MEMBERSHIP = "state", "membership"  # who may hold the merger


class Synchronizer:
    """The turns of `site` among `sites`, for one part of a model: `initial` [P], float32 or float64 on the CPU.

    A turn is `begin`, `arrived` until it is so, `commit`, `merge`; training may go on in between, and one turn of each
    fragment may be pending. `exchange` must have been started if there is any other site. Methods are the training
    thread's, but for `hold`, `release`, `set_cohort` and `heal_state`, which are any thread's. What failed off the
    training thread is raised by the next call: `UserError` if a value was not finite, a frame is larger than the exchange
    allows, or a site's frame grew from another state than this site's, which no wait can help.

    Raises:
        TypeError: `initial` is of another dtype.
        ValueError: it is not flat or not on the CPU, or `sites` are not `site` and the peers of `exchange`.
        UserError: it is too small for the plan's fragments.
    """

    def __init__(self, *, site: str, sites: Sequence[str], initial: Tensor, plan: Plan, exchange: Exchange) -> None:
        if initial.dim() != 1 or initial.device.type != "cpu":
            raise ValueError(f"parameters are {list(initial.shape)} on {initial.device}; they must be flat, on the CPU")
        if sorted(sites) != sorted({site, *exchange.peers}):
            raise ValueError(f"sites are {sorted(sites)}; they must be {site} and its peers {sorted(exchange.peers)}")
        self._site = site
        self._exchange = exchange
        self._state = OuterState(site, sites, initial, plan)
        self._merger = Merger(site, self._state, exchange)
        self._turns = Turns(self._state)
        self._wait_s = 0.0

    @property
    def fragments(self) -> tuple[slice, ...]:
        """Where each fragment lies in the part; borders are multiples of a block."""
        return self._state.fragments

    @property
    def begun(self) -> int:
        """Turns that are begun."""
        return self._turns.begun

    @property
    def committed(self) -> int:
        """Turns that are committed."""
        return self._turns.committed

    @property
    def round(self) -> int:
        """Rounds that all fragments have committed."""
        return self.committed // len(self.fragments)

    @property
    def pending(self) -> bool:
        """Whether some turn is begun and not yet committed."""
        return self.begun > self.committed

    @property
    def can_begin(self) -> bool:
        """Whether the next turn's fragment is free: not pending from the round before."""
        return self._turns.can_begin

    @property
    def next_fragment(self) -> slice:
        """What `begin` would begin."""
        return self._state.where(self.begun + 1)

    @property
    def oldest_fragment(self) -> slice:
        """What `commit` would commit."""
        return self._state.where(self.committed + 1)

    def form_of(self, turn: int) -> UpdateFormat:
        """The format of every site's frame of `turn`."""
        return self._state.form_of(turn)

    def begin(self, local: Tensor, trained: int, keep: Callable[[], None] | None = None) -> None:
        """Offer what `local`, this site's values of `next_fragment`, have learnt. They are copied; returns at once.

        `trained` are all samples that this site has trained on; those since the fragment's last turn are its weight.
        `keep` is called off the training thread before anything is sent: for what must be durable by then.

        Raises:
            RuntimeError: the fragment is still pending.
            ValueError: `local` or `trained` does not fit, or the plan has no more rounds.
        """
        turn, snapshot, samples = self._turns.begin(local, trained)
        self._merger.release(_STATE)
        self._merger.send(turn, snapshot, samples, keep)

    def arrived(self, timeout_s: float | None) -> bool:
        """Whether all frames of the oldest pending turn are here, and merged, within `timeout_s` s (None: no limit).

        Raises:
            RuntimeError: no turn is pending.
        """
        if not self.pending:
            raise RuntimeError("no turn is pending; begin one first")
        started = time.monotonic()
        self._merger.release(_STATE)
        has_arrived = self._merger.wait(self.committed + 1, timeout_s)
        self._wait_s += time.monotonic() - started
        return has_arrived

    def commit(self) -> TurnReport:
        """Take over the oldest pending turn, which has `arrived`.

        Raises:
            RuntimeError: it has not arrived, or none is pending.
        """
        turn = self.committed + 1
        if self._state.merged < turn:
            raise RuntimeError(f"turn {turn} has not arrived; begin it and wait until it has")
        report, digest = self._merger.take()
        self._turns.commit(report, digest)
        report = report.model_copy(update={"wait_s": self._wait_s})
        self._wait_s = 0.0
        return report

    def merge(self, local: Tensor) -> Tensor:
        """What to train on from, after a commit: the shared parameters plus what `local` has learnt since `begin`.

        `local`, this site's values of the fragment that was committed, is changed in place.

        Raises:
            RuntimeError: there was no commit since the last `begin`.
            ValueError: `local` does not fit.
        """
        return self._turns.merge(local)

    def digest(self) -> str:
        """SHA-256 of the outer state `(turn, g, m)` as committed; equal on every site after the same turn."""
        return self._turns.digest()

    def outer_tensors(self) -> dict[str, Tensor]:
        """`parameters`, `momentum` if some round has any, `residual` if sending loses anything: each [P].

        They share memory with this object, and stand still until the next `begin` or `arrived`.
        """
        self._merger.hold(_STATE)
        return self._state.tensors()

    def state_dict(self) -> dict[str, Tensor]:
        """All that this site needs to go on bit for bit: `outer_tensors`, with pending turns and frames peers may need.

        Not to be taken between `commit` and `merge`. Tensors stand still as those of `outer_tensors` do.
        """
        tensors = self.outer_tensors()
        progress = self._turns.progress(self._merger.reports)
        frames = {frame.turn: frame for frame in self._exchange.retained()} | self._merger.own
        return tensors | self._turns.snapshots() | encode_frames(frames.values()) | progress.encoded()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`; frames in it are served again.

        Raises:
            ValueError: it is not a state of such parameters and such a plan; this object is of no more use.
        """
        self._merger.hold(_STATE)
        progress = decode_progress(state, len(self.fragments))
        frames = decode_frames(state)
        unmerged = range(progress.merged + 1, progress.begun + 1)
        missing = missing_snapshots(state, range(progress.committed + 1, progress.begun + 1))
        missing += [turn for turn in unmerged if turn not in frames]
        if missing:
            raise ValueError(f"state has no snapshot or no frame of pending turns {missing}")
        self._state.load(state, progress)
        self._exchange.publish(*(frames[turn] for turn in sorted(frames)))
        snapshots = self._turns.load(progress, state)
        own = {turn: frames[turn] for turn in unmerged}
        self._merger.restart(own, {turn: snapshots[turn] for turn in unmerged}, progress.reports)

    def load_outer(self, tensors: Mapping[str, Tensor], *, round_number: int, trained: int) -> None:
        """Go on after `round_number` from `outer_tensors` that another layout had, with `trained` samples accounted for.

        Every site must do so at once: histories begin anew. With several fragments, weights of the first turns differ a
        little from what they would have been.

        Raises:
            ValueError: a tensor is missing or does not fit.
        """
        self._merger.hold(_STATE)
        self._state.load_tensors(tensors)
        self._state.restart(after_turn=round_number * len(self.fragments))
        self._turns.go_on(
            self._state.merged, self._state.merged, [trained] * len(self.fragments), self._state.digests()
        )
        self._merger.restart({}, {}, ())

    def heal_state(self) -> dict[str, Tensor]:
        """The outer state after the newest merged turn, copied: what a site that comes back goes on from."""
        return self._merger.heal_state()

    def load_healed(self, state: Mapping[str, Tensor], *, trained: int = 0) -> None:
        """Go on from a peer's `heal_state`; what this site has learnt since its last turn, it gives up.

        Of the `trained` samples so far none will be offered. Train on from `outer_tensors()["parameters"]`.

        Raises:
            ValueError: it is not a state of such parameters and such a plan; this object is of no more use.
        """
        self._merger.hold(_STATE)
        progress = decode_progress(state, len(self.fragments))
        self._state.load(state, progress, keeps_residual=False)
        self._turns.go_on(progress.merged, progress.merged, [trained] * len(self.fragments), progress.digests)
        self._merger.restart({}, {}, ())

    def hold(self) -> int:
        """Merge no further turn until `release`. Returns how many are merged for good: the cohort of later ones may change."""
        return self._merger.hold(_MEMBERSHIP)

    def release(self) -> None:
        """End a `hold`."""
        self._merger.release(_MEMBERSHIP)

    def set_cohort(self, sites: Sequence[str], from_turn: int) -> None:
        """Merge the frames of `sites`, and of no others, from `from_turn` on, in place of what was said of later turns.

        Every one of them must be told alike: else they diverge, and find out in the fragment's next turn.

        Raises:
            ValueError: this site is not among them, another is unknown, or `from_turn` is merged already or was begun in
                a format that the new cohort would refuse.
        """
        known = {self._site, *self._exchange.peers}
        if self._site not in sites or not known.issuperset(sites):
            raise ValueError(f"a cohort of {sorted(sites)}; {self._site} must be in it, and others of {sorted(known)}")
        self._merger.set_cohort(Cohort(from_turn=from_turn, sites=tuple(sorted(sites))))

    def close(self) -> None:
        """End the worker thread; what it has begun is finished."""
        self._merger.close()
