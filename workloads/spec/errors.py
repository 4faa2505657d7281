"""How a mistake is told to the person who made it."""

import sys
from collections.abc import Callable
from typing import NoReturn

from pydantic import ValidationError

USER_ERROR_EXIT = 2
INTERRUPTED_EXIT = 130


class UserError(Exception):
    """A mistake that its maker can mend: one line with the value, the limit and the remedy. Never shown as a traceback."""


def explain(error: ValidationError, subject: str) -> str:
    """One line for a failed parse: `subject: key: what is wrong, got VALUE`, the first three faults in full."""
    faults = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}, got {fault['input']!r:.80}"
        for fault in error.errors(include_url=False)
    ]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return f"{subject}: {'; '.join(faults[:3])}{more}".replace("\n", " ")


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a workload's entry point; a `UserError` ends it with one line on stderr and `USER_ERROR_EXIT`."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the interface of a command
        sys.exit(USER_ERROR_EXIT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT)
    sys.exit(0)
