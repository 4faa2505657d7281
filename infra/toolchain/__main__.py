"""`python -m infra.toolchain STATE`: make sure that there is an engine, and say which. Imports nothing else of infra."""

import sys
from pathlib import Path

from rich.console import Console

from infra.toolchain.engine import ensure_engine
from infra.toolchain.progress import say
from workloads.spec.errors import UserError, run_command


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m infra.toolchain STATE, such as .state")
    console = Console(stderr=True)
    engine = ensure_engine(Path(sys.argv[1]), console)
    say(console, f"engine: pulumi {engine.version}, {engine.path}")


if __name__ == "__main__":
    run_command(main)
