"""One site's side of the rounds: DiLoCo (arXiv 2311.08105), weighted by samples, quantised with error feedback.

Pure tensors: no model, no data. All sites that were given the same initial parameters hold the same `(round, g, m)` after
every commit, bit for bit.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.spec.errors import UserError
from workloads.spec.recipe import OuterSpec
from workloads.sync.exchange import Exchange
from workloads.sync.frame import Frame, RefusedError, decode_frame, encode_frame
from workloads.sync.history import first_history, next_history
from workloads.sync.outer import OuterOptimizer, weighted_mean
from workloads.sync.quantise import Bits, NonFiniteError, UpdateFormat, accumulate, quantise

_FRAME = "frame"


@dataclass(frozen=True)
class RoundReport:
    """A committed round: samples by site, payload of its frames as seen from here, and time spent waiting in `commit`."""

    round: int
    samples: dict[str, int]
    bytes_sent: int
    bytes_received: int
    wait_s: float


class Synchronizer:
    """The rounds of `site` among `sites`, from the shared parameters `initial` [P], float32 or float64 on the CPU.

    A round is `begin`, any number of `commit`s until one succeeds, `merge`; training may go on in between. `exchange` must
    have been started if there is any other site.

    Raises:
        TypeError: `initial` is of another dtype.
        ValueError: `initial` is not flat or not on the CPU, or `sites` are not `site` and the peers of `exchange`.
    """

    def __init__(
        self, *, site: str, sites: Sequence[str], initial: Tensor, outer: OuterSpec, exchange: Exchange
    ) -> None:
        if initial.dim() != 1 or initial.device.type != "cpu":
            raise ValueError(f"parameters are {list(initial.shape)} on {initial.device}; they must be flat, on the CPU")
        if sorted(sites) != sorted({site, *exchange.peers}):
            raise ValueError(f"sites are {sorted(sites)}; they must be {site} and its peers {sorted(exchange.peers)}")
        self.round = 0
        self._site = site
        self._sites = tuple(sorted(sites))
        self._exchange = exchange
        # A site alone has no link to save: its updates stay exact.
        bits: Bits = outer.bits if len(sites) > 1 else 32
        self._format = UpdateFormat(initial.numel(), initial.dtype, bits)
        # Then g - (g - theta) is theta but for rounding, and training alone must not be changed by that either.
        self._is_identity = len(sites) == 1 and outer.lr == 1 and outer.momentum == 0
        self._outer = OuterOptimizer(initial, outer.lr, outer.momentum)
        self._residual = torch.zeros_like(initial)
        self._snapshot = initial.detach().clone()
        self._history = first_history(initial.detach(), self._sites, outer)
        self._own: Frame | None = None  # of the pending round
        self._wait_s = 0.0

    @property
    def pending(self) -> bool:
        """Whether a round is begun and not yet committed."""
        return self._own is not None

    def begin(self, local: Tensor, samples: int) -> None:
        """Offer what `local` [P] has learnt from `samples` samples since the last `begin`; returns at once.

        Raises:
            RuntimeError: a round is pending.
            ValueError: `local` or `samples` does not fit.
            UserError: a value is not finite, or the frame is larger than the exchange allows.
        """
        if self.pending:
            raise RuntimeError(f"round {self.round + 1} is pending; commit it first")
        self._ensure_fits(local)
        number = self.round + 1
        self._snapshot.copy_(local)
        update = torch.sub(self._outer.parameters, self._snapshot).add_(self._residual)
        try:
            quantised = quantise(update, self._format.bits)
        except NonFiniteError as error:
            raise UserError(f"site {self._site}, round {number}: {error}; lower the inner learning rate") from None
        frame = Frame.of(
            quantised,
            run_id=self._exchange.run_id,
            site=self._site,
            round_number=number,
            samples=samples,
            history=self._history,
        )
        self._exchange.publish(frame)
        self._exchange.follow(self._format, number)
        accumulate(update, quantised, -1.0)
        self._residual = update
        self._own = frame
        self._wait_s = 0.0

    def commit(self, timeout_s: float | None) -> RoundReport | None:
        """Merge the pending round, if every site's frame is there within `timeout_s` seconds (None: no limit).

        None: some frame is missing; nothing has changed, call again later.

        Raises:
            RuntimeError: no round is pending.
            UserError: a site's frame grew from another state than this site's: no wait can help.
        """
        if self._own is None:
            raise RuntimeError("no round is pending; begin one first")
        started = time.monotonic()
        number = self.round + 1
        others = self._exchange.collect(number, timeout_s)
        self._wait_s += time.monotonic() - started
        if others is None:
            return None
        by_site = {**others, self._site: self._own}
        frames = [by_site[site] for site in self._sites]
        self._ensure_common_history(frames)
        self._step(frames)
        self._history = next_history(self._history, frames)
        self._own = None
        self.round = number
        self._exchange.discard(number)
        return RoundReport(
            round=number,
            samples={frame.header.site: frame.header.samples for frame in frames},
            bytes_sent=self._format.payload_bytes * len(others),
            bytes_received=sum(frame.header.payload_bytes for frame in others.values()),
            wait_s=self._wait_s,
        )

    def merge(self, local: Tensor) -> Tensor:
        """What to train on from, after a commit: the shared parameters plus what `local` [P] learnt since `begin`.

        Raises:
            RuntimeError: the round is still pending.
            ValueError: `local` does not fit.
        """
        if self.pending:
            raise RuntimeError(f"round {self.round + 1} is pending; commit it first")
        self._ensure_fits(local)
        if self._is_identity:
            return local.clone()
        return torch.sub(local, self._snapshot).add_(self._outer.parameters)

    def digest(self) -> str:
        """SHA-256 of `(round, g, m)`; equal on every site after the same round."""
        digest = hashlib.sha256(self.round.to_bytes(8, "little"))
        digest.update(self._outer.parameters.numpy().data)
        digest.update(self._outer.momentum.numpy().data)
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Tensor]:
        """The state after a commit, with the frames that peers may still need. Tensors share memory with this object.

        Raises:
            RuntimeError: a round is pending.
        """
        if self.pending:
            raise RuntimeError(f"round {self.round + 1} is pending; commit it first")
        state = {
            "round": torch.tensor(self.round),
            "parameters": self._outer.parameters,
            "momentum": self._outer.momentum,
            "residual": self._residual,
            "history": torch.frombuffer(bytearray.fromhex(self._history), dtype=torch.uint8),
        }
        for frame in self._exchange.retained():
            for part, tensor in encode_frame(frame).items():
                state[f"{_FRAME}.{frame.header.round}.{part}"] = tensor
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`; frames in it are served again.

        Raises:
            ValueError: it is not a state of such parameters and settings.
        """
        for name, own in (
            ("parameters", self._outer.parameters),
            ("momentum", self._outer.momentum),
            ("residual", self._residual),
        ):
            if name not in state or state[name].shape != own.shape or state[name].dtype != own.dtype:
                raise ValueError(f"state has no {name} of {own.dtype} {list(own.shape)}")
        if not {"round", "history"} <= state.keys():
            raise ValueError("state has no round or no history")
        self._outer.parameters.copy_(state["parameters"])
        self._outer.momentum.copy_(state["momentum"])
        self._residual.copy_(state["residual"])
        self._snapshot.copy_(state["parameters"])
        self._history = state["history"].numpy().tobytes().hex()
        self.round = int(state["round"])
        self._own = None
        self._exchange.publish(*_kept_frames(state))
        self._exchange.follow(self._format, self.round + 1)

    def _step(self, frames: Sequence[Frame]) -> None:
        if self._is_identity:
            self._outer.parameters.copy_(self._snapshot)
        else:
            self._outer.step(weighted_mean([(frame.update, frame.header.samples) for frame in frames]))

    def _ensure_common_history(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.header.history != self._history:
                detail = f"its round {frame.header.round} grew from another state than {self._site}'s"
                self._exchange.refuse_diverged(frame.header.site, detail)
                raise UserError(
                    f"site {frame.header.site}: {detail}: recipes, seeds or checkpoints differ; "
                    f"stop all sites and start them together"
                )

    def _ensure_fits(self, local: Tensor) -> None:
        wanted = self._outer.parameters
        if not isinstance(local, Tensor) or local.shape != wanted.shape or local.dtype != wanted.dtype:
            found = f"{local.dtype} {list(local.shape)}" if isinstance(local, Tensor) else type(local).__name__
            raise ValueError(f"local parameters are {found}; they must be {wanted.dtype} {list(wanted.shape)}")


def _kept_frames(state: Mapping[str, Tensor]) -> list[Frame]:
    headers = [key for key in state if key.startswith(f"{_FRAME}.") and key.endswith(".header")]
    try:
        return [decode_frame(state[key], state[key.removesuffix("header") + "payload"]) for key in headers]
    except (KeyError, RefusedError) as error:
        raise ValueError(f"state has no whole frames: {error}") from None
