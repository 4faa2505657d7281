"""The checkpoints of one site and run: which are usable, which are kept. A state that does not verify is never used.

`round-000012/` holds `tensors/*.safetensors`, one `rank-*.safetensors` of each rank, `progress.json` and, written last,
`manifest.json` with the digests of all of them. Nothing of a state is looked into before its digests were checked.
Beside the states lies a log of turns from each part of the model, all of which say the same but for the newest.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from workloads.spec.base import file_digest
from workloads.spec.errors import UserError
from workloads.spec.plan import Layout
from workloads.trainer.checkpoints.journal import TurnLog
from workloads.trainer.checkpoints.manifest import MANIFEST, PROGRESS, Identity, Manifest, Progress
from workloads.trainer.checkpoints.places import Place

_NAME = re.compile(r"round-(\d{6})")
_LOG = re.compile(r"turns-\d{5}\.json")


@dataclass(frozen=True)
class SavedState:
    """A verified state on this machine."""

    folder: Path
    progress: Progress
    layout: Layout


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints in `place`, of which the newest `keep` stay. `identity` is what makes another run's unusable."""

    place: Place
    keep: int
    identity: Identity

    def usable_rounds(self, report: Callable[[str], None]) -> list[int]:
        """Rounds with a state that verifies, oldest first; every other is told to `report` in one line.

        Raises:
            UserError: a state is of another model. Nothing is overwritten.
        """
        usable = []
        for number in self._saved():
            fault = self._fault(number)
            if fault is None:
                usable.append(number)
            else:
                report(f"checkpoint of round {number} is not used: {fault}")
        return usable

    def fetch(self, number: int) -> None:
        """Bring the state of round `number` to this machine. Raises `UserError` if it was changed on its way."""
        name = _name(number)
        manifest = self._manifest(number)
        folder = self.place.fetch(name, [*manifest.files, MANIFEST])
        for file, digest in manifest.files.items():
            if file_digest(folder / file) != digest:
                raise UserError(
                    f"{self.place.address}/{name}/{file} was changed since the start; start again to use an earlier one"
                )

    def open(self, number: int) -> SavedState:
        """The state of round `number`, which some worker of this machine has fetched."""
        folder = self.place.fetched(_name(number))
        return SavedState(folder, Progress.load(folder / PROGRESS), Manifest.load(folder / MANIFEST).layout)

    def seal(self, progress: Progress, layout: Layout, files: Mapping[str, str]) -> None:
        """Make the scratch folder, whose `files` are put, the state of its round; then drop all but the newest."""
        scratch, name = self.place.scratch(), _name(progress.round)
        progress.save(scratch / PROGRESS)
        self.place.put(name, [PROGRESS])
        digests = {**files, PROGRESS: file_digest(scratch / PROGRESS)}
        Manifest(identity=self.identity, layout=layout, files=digests).save(scratch / MANIFEST)
        self.place.reveal(name)
        for number in self._saved()[: -self.keep]:
            self.place.drop(_name(number))

    def put(self, number: int, files: list[str]) -> dict[str, str]:
        """Make `files` of the scratch folder durable. Returns their digests."""
        self.place.put(_name(number), files)
        return {file: file_digest(self.place.scratch() / file) for file in files}

    def discard_after(self, number: int) -> None:
        """Drop the states that come after round `number`: training goes on from there."""
        for later in self._saved():
            if later > number:
                self.place.drop(_name(later))

    def keep_log(self, part: int, log: TurnLog) -> None:
        """Make the log durable that the owner of `part` has. Raises `OSError`."""
        self.place.keep(f"turns-{part:05d}.json", log.model_dump_json().encode())

    def kept_log(self) -> TurnLog:
        """The newest log of this very training that any part has; a new one if none has, or it cannot be read."""
        logs = [TurnLog(training=self.identity.training)]
        for name in filter(_LOG.fullmatch, self.place.names()):
            with suppress(ValidationError):
                logs.append(TurnLog.model_validate_json(self.place.kept(name)))
        return max((log for log in logs if log.training == self.identity.training), key=lambda log: log.newness)

    def _fault(self, number: int) -> str | None:
        try:
            manifest = self._manifest(number)
        except FileNotFoundError:
            return f"{MANIFEST} is missing"
        except ValidationError:
            return f"{MANIFEST} is corrupt"
        theirs = manifest.identity
        if theirs.model_digest != self.identity.model_digest:
            raise UserError(
                f"{self.place.address}/{_name(number)} is a checkpoint of {theirs.model}, and this run trains "
                f"{self.identity.model}; move it away, or give the run another folder"
            )
        if theirs.training != self.identity.training:
            return "it is of another recipe, plan or set of sites"
        for file, digest in manifest.files.items():
            try:
                found = self.place.digest(_name(number), file)
            except FileNotFoundError:
                return f"{file} is missing"
            if found != digest:
                return f"{file} is corrupt"
        return self._fault_of_progress(number)

    def _fault_of_progress(self, number: int) -> str | None:
        progress = Progress.model_validate_json(self.place.read(_name(number), PROGRESS))
        return None if progress.round == number else f"{PROGRESS} is of another round"

    def _manifest(self, number: int) -> Manifest:
        return Manifest.model_validate_json(self.place.read(_name(number), MANIFEST))

    def _saved(self) -> list[int]:
        matches = (_NAME.fullmatch(name) for name in self.place.names())
        return sorted(int(match[1]) for match in matches if match)


def _name(number: int) -> str:
    return f"round-{number:06d}"
