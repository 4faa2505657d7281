"""Frames that are kept for a peer that may need them again: seldom read, so they lie in files and not in memory."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from workloads.sync.frame import Frame, FrameHeader
from workloads.sync.ledger import LOG
from workloads.sync.payload import Quantised


class Spool:
    """Frames of one site by turn, their payloads in files of `folder`; without one, or without room there, in memory.

    The files are of this process alone: what outlives it is in its checkpoints. Whoever reads a frame checks it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._headers: dict[int, FrameHeader] = {}  # of those in files
        self._frames: dict[int, Frame] = {}

    @property
    def turns(self) -> tuple[int, ...]:
        """Whose frames are here."""
        return (*self._headers, *self._frames)

    def put(self, frame: Frame) -> None:
        """Keep `frame`."""
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                frame.update.payload.numpy().tofile(self._path(frame.turn))
            except OSError as error:
                LOG.warning("frame of turn %d stays in memory: %s", frame.turn, error)
            else:
                self._headers[frame.turn] = frame.header
                return
        self._frames[frame.turn] = frame

    def get(self, turn: int) -> Frame | None:
        """The frame of `turn`; None: it is not here, or can be read no more."""
        header = self._headers.get(turn)
        if header is None:
            return self._frames.get(turn)
        try:
            payload = torch.from_numpy(np.fromfile(self._path(turn), dtype=np.uint8))
            return Frame(header, Quantised(header.format, payload))
        except (OSError, ValueError) as error:
            LOG.warning("frame of turn %d is lost: %s", turn, error)
            return None

    def drop(self, turn: int) -> None:
        """Forget the frame of `turn`, if it is here."""
        self._frames.pop(turn, None)
        if self._headers.pop(turn, None) is not None:
            with suppress(OSError):
                self._path(turn).unlink()

    def clear(self) -> None:
        """Forget all."""
        for turn in self.turns:
            self.drop(turn)

    def _path(self, turn: int) -> Path:
        if self._folder is None:
            raise RuntimeError("the spool has no folder")
        return self._folder / f"turn-{turn}.frame"
