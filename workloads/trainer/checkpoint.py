"""A site's durable state: safetensors and JSON, written aside, digested, and made visible by one rename.

`work/checkpoints/round-000012/` holds `state.safetensors`, `progress.json` and, written last, `manifest.json` with
the digests of both. A folder that does not verify is never used.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import NonNegativeInt, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workloads.spec.artifact import MANIFEST
from workloads.spec.base import Frozen, Sha256, file_digest
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError

_FOLDER = re.compile(r"round-(\d{6})")
_STATE = "state.safetensors"
_PROGRESS = "progress.json"


class Progress(Frozen):
    """Where a site stands, after a committed round."""

    round: NonNegativeInt = 0
    step: NonNegativeInt = 0
    samples: NonNegativeInt = 0  # trained on, so also the position in the data
    steps_ahead: NonNegativeInt = 0  # of the next round, made while the link was down
    wall_s: float = 0.0
    wait_s: float = 0.0
    bytes_sent: NonNegativeInt = 0
    wire_bytes_sent: NonNegativeInt = 0


class _Manifest(Frozen):
    identity: Sha256
    files: dict[str, Sha256]


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one site and run in `folder`. `identity` is what makes another run's state unusable."""

    folder: Path
    keep: int
    identity: str

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Make a state durable, then drop all but the newest `keep`.

        Raises:
            UserError: there is no room on disk. What was saved before stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        size = sum(tensor.nbytes for tensor in tensors.values())
        ensure_room(self.folder, size, f"the checkpoint of round {progress.round}")
        scratch = self.folder / ".writing"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, scratch / _STATE)
        progress.save(scratch / _PROGRESS)
        files = {name: file_digest(scratch / name) for name in (_STATE, _PROGRESS)}
        _Manifest(identity=self.identity, files=files).save(scratch / MANIFEST)
        for path in scratch.iterdir():
            _sync_to_disk(path)
        target = self._path(progress.round)
        shutil.rmtree(target, ignore_errors=True)  # a corrupt one of the same round
        scratch.rename(target)
        _sync_to_disk(self.folder)
        for number in self._saved()[: -self.keep]:
            shutil.rmtree(self._path(number))

    def usable_rounds(self, report: Callable[[str], None]) -> list[int]:
        """Rounds with a state that verifies, oldest first; every other is told to `report` in one line."""
        usable = []
        for number in self._saved():
            fault = self._fault(number)
            if fault is None:
                usable.append(number)
            else:
                report(f"checkpoint of round {number} is not used: {fault}")
        return usable

    def load(self, number: int) -> tuple[Progress, dict[str, Tensor]]:
        """The state of round `number`, one of `usable_rounds`; tensors are on the CPU."""
        path = self._path(number)
        return Progress.load(path / _PROGRESS), load_file(path / _STATE)

    def discard_after(self, number: int) -> None:
        """Drop the states that come after round `number`: training goes on from there."""
        for later in self._saved():
            if later > number:
                shutil.rmtree(self._path(later))

    def _fault(self, number: int) -> str | None:
        path = self._path(number)
        try:
            manifest = _Manifest.model_validate_json((path / MANIFEST).read_bytes())
            if manifest.identity != self.identity:
                return "it is of another recipe or set of sites"
            for name, digest in manifest.files.items():
                if file_digest(path / name) != digest:
                    return f"{name} is corrupt"
            if Progress.load(path / _PROGRESS).round != number:
                return f"{_PROGRESS} is of another round"
        except FileNotFoundError as error:
            return f"{Path(error.filename).name} is missing"
        except (ValidationError, UserError, OSError):
            return f"{MANIFEST} is corrupt"
        return None

    def _saved(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        matches = (_FOLDER.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}"


def _sync_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
