"""`python -m tests.lab.aws up|down|census|lacks [ROOT]`: the emulators without a test, to look at them."""

import json
import os
import sys
import time
from pathlib import Path

from infra.settings import ROOT
from tests.lab.aws import control
from tests.lab.aws.census import census
from tests.lab.aws.layout import PORTS, Layout, url
from tests.lab.daemons import LabError
from tests.lab.providers.aws.kept import FOLDER
from tests.lab.providers.aws.lacks import table


def main(command: str, layout: Layout) -> None:
    """Raises `LabError` as its parts do."""
    match command:
        case "up":
            began = time.monotonic()
            control.start(layout)
            where = ", ".join(f"{name} {url(name)}" for name in PORTS)
            print(f"up after {time.monotonic() - began:.1f} s: {where}")  # noqa: T201
        case "down":
            control.stop(layout)
        case "census":
            if not control.alive(layout):
                raise LabError("the emulators do not run; start them with `python -m tests.lab.aws up`")
            print(json.dumps(census(), indent=1))  # noqa: T201
        case "lacks":
            print(table())  # noqa: T201
        case other:
            raise LabError(f"{other!r} is none of up, down, census, lacks")


if __name__ == "__main__":
    root = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / ".state/lab/aws"
    os.environ[FOLDER] = str(root)
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "", Layout(root))
    except LabError as error:
        sys.exit(f"error: {error}")
