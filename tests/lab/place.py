"""Where the lab keeps what it makes: all of it below one folder, which `make clean` removes."""

from typing import Final

from infra.settings import ROOT

LAB: Final = ROOT / ".state/lab"
HOME: Final = LAB / "home"
"""PULUMI_HOME with the stand-in plugins, which no other stack is to find."""
STACK: Final = LAB / "stack"
"""State and configuration of the stack `lab`. It goes with the clouds that it speaks of."""
REPORT: Final = LAB / "report"
STANDING: Final = LAB / "standing.json"
"""There while a whole lab stands; written last."""
