"""`python -m tests.lab.openstack up|down|census [ROOT]`: the control plane without a test, to look at it."""

import sys
import time
from pathlib import Path

from infra.settings import ROOT
from tests.lab.openstack import control
from tests.lab.openstack.layout import Layout

layout = Layout(Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / ".state/lab/openstack")
match sys.argv[1]:
    case "up":
        began = time.monotonic()
        control.start(layout)
        print(f"up after {time.monotonic() - began:.0f} s: OS_CLIENT_CONFIG_FILE={layout.clouds}")  # noqa: T201
    case "down":
        control.stop(layout)
    case "census":
        print(control.ask(layout, "census"))  # noqa: T201
    case other:
        sys.exit(f"{other!r} is none of up, down, census")
