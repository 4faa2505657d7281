"""Whether the state folder may be removed: not while services of a stack on this machine run from it."""

import sys
from pathlib import Path

from infra.local.supervision import RECORD, find
from workloads.spec.errors import UserError, run_command


def require_idle(state: Path) -> None:
    """Raises `UserError` if a service that is recorded under `state` is alive."""
    records = sorted(state.glob(f"*/services/*/{RECORD}"))
    alive = [(record.parent, process.pid) for record in records if (process := find(record.parent))]
    if not alive:
        return
    names = ", ".join(f"{folder.name} (process {pid})" for folder, pid in alive[:3])
    more = f" and {len(alive) - 3} more" if len(alive) > 3 else ""
    stacks = sorted({folder.parents[1].name for folder, _ in alive})
    raise UserError(f"{state} is in use by {names}{more}; run `make down STACK={stacks[0]}` first")


if __name__ == "__main__":
    run_command(lambda: require_idle(Path(sys.argv[1])))
