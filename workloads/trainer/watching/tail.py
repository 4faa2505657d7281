"""A site's `events.jsonl` as it grows."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from workloads.spec.errors import UserError, explain
from workloads.spec.events import Event, NoteEvent, RoundEvent, StepEvent

_EVENT: TypeAdapter[StepEvent | RoundEvent | NoteEvent] = TypeAdapter(Event)


class EventTail:
    """Reads what was appended since the last look. A file that a resumed run has written anew is read from its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # inode; the file is replaced, not changed, when a run resumes
        self._offset = 0

    def look(self) -> tuple[list[StepEvent | RoundEvent | NoteEvent], bool]:
        """New events in order, and whether they begin the file anew. A site that has not begun has none.

        Raises:
            UserError: a line is no event.
        """
        try:
            with self._path.open("rb") as lines:
                stat = self._path.stat()
                anew = stat.st_ino != self._file or stat.st_size < self._offset
                if anew:
                    self._file, self._offset = stat.st_ino, 0
                lines.seek(self._offset)
                grown = lines.read()
        except FileNotFoundError:
            return [], False
        whole = grown[: grown.rfind(b"\n") + 1]  # a line may be half written, or torn by a kill
        self._offset += len(whole)
        try:
            return [_EVENT.validate_json(line) for line in whole.splitlines()], anew
        except ValidationError as error:
            raise UserError(explain(error, str(self._path))) from None
