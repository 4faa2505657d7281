"""Commands that make containers, kept together: whoever kills the one that started them ends them, with all their mounts."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_PREFIX = (
    *("setpriv", "--pdeathsig", "KILL"),  # of this process
    *("unshare", "--pid", "--mount-proc", "--fork", "--kill-child"),
)


def run(
    command: Sequence[str | Path],
    output: int | IO[Any] = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The command in a process and a mount namespace of its own, when it has ended. `output` gets both its streams."""
    return subprocess.run(
        [*_PREFIX, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        check=False,
    )
