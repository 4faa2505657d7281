"""`python -m workloads.inference SPEC.json`: one replica of one model version."""

import argparse
from pathlib import Path

from workloads.inference.server import serve
from workloads.spec.delivery import DELIVERED, Delivered
from workloads.spec.errors import run_command
from workloads.spec.launch import ServeLaunch


def main() -> None:
    """Serve the model of the spec named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m workloads.inference", description="Serve a signed model.")
    parser.add_argument("spec", type=Path, help="ServeLaunch as JSON")
    serve(_with_version(ServeLaunch.load(parser.parse_args().spec)))


def _with_version(launch: ServeLaunch) -> ServeLaunch:
    """What was delivered says which version it is, where whoever launched could not know."""
    if launch.version is not None:
        return launch
    return launch.model_copy(update={"version": Delivered.load(launch.model.parent / DELIVERED).version})


if __name__ == "__main__":
    run_command(main)
