"""Room on disk, asked for before anything is written."""

import shutil
from pathlib import Path

from workloads.spec.errors import UserError

RESERVE_BYTES = 16 << 20  # left free, so that logs and databases beside us can still be written


def ensure_room(folder: Path, size_bytes: int, purpose: str) -> None:
    """Raises `UserError` unless the disk of `folder`, which exists, holds `size_bytes` more and a reserve."""
    free = shutil.disk_usage(folder).free
    needed = size_bytes + RESERVE_BYTES
    if free < needed:
        raise UserError(
            f"{folder}: {purpose} needs {_mebibytes(needed)}, {_mebibytes(free)} are free; "
            "make room, or choose another disk with isthmus:local.folder, and run `make up` again"
        )


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
