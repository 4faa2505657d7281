"""`python -m tests.lab up|run|down|status`: the lab. `run` brings it up where it does not stand, and drills the stack.

What is given after `run` goes to pytest, such as `-k mesh`.
"""

import subprocess
import sys

from rich.console import Console

from infra.settings import ROOT
from infra.toolchain.progress import say
from tests.lab import place, whole
from tests.lab.daemons import LabError
from tests.lab.log import Log
from tests.lab.record import Record
from workloads.spec.errors import INTERRUPTED_EXIT, UserError

# drills have limits of their own, each with a word to it; a busy machine may need them whole, and two in a drill
_HANGS_S = 3600
_STORY = (
    *("tests/lab/test_lab.py", "-m", "lab", "--exitfirst", "-v"),
    *("-o", "cache_dir=.state/cache/pytest", "-o", f"faulthandler_timeout={_HANGS_S}"),
)


def main() -> int:
    verb, *more = sys.argv[1:] or ["none"]
    console = Console(stderr=True)
    if {"-h", "--help"} & {verb, *more}:  # before anything is brought up
        say(console, str(__doc__))
        return 0
    log = Log(place.REPORT / "log")
    log.say("lab", f"$ python -m tests.lab {' '.join(sys.argv[1:])}")
    record = Record(place.REPORT / "report.json")
    try:
        match verb:
            case "up":
                whole.up(console, log, record)
            case "down":
                whole.down(console, log)
            case "status":
                whole.status(console)
            case "run":
                if not whole.is_up():
                    whole.up(console, log, record)
                return _drill(console, more)
            case _:
                say(console, f"error: {verb!r} is none of up, run, down, status")
                return 2
    except (LabError, UserError) as error:
        for line in str(error).splitlines():
            log.say("lab", f"error: {line}")
            say(console, f"error: {line}")
        return 2
    except KeyboardInterrupt:
        say(console, "interrupted; `make lab-down` takes away what was started")
        return INTERRUPTED_EXIT
    finally:
        log.close()
    return 0


def _drill(console: Console, more: list[str]) -> int:
    done = subprocess.run([sys.executable, "-m", "pytest", *_STORY, *more], cwd=ROOT, check=False)
    say(console, f"report: {place.REPORT / 'report.md'}; the lab stands on, and `make lab-down` takes it away")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
