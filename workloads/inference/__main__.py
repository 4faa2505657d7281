"""`python -m workloads.inference SPEC.json`: one replica of one model version."""

import argparse
from pathlib import Path

from workloads.inference.server import serve
from workloads.spec.errors import run_command
from workloads.spec.launch import ServeLaunch


def main() -> None:
    """Serve the model of the spec named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m workloads.inference", description="Serve a signed model.")
    parser.add_argument("spec", type=Path, help="ServeLaunch as JSON")
    serve(ServeLaunch.load(parser.parse_args().spec))


if __name__ == "__main__":
    run_command(main)
