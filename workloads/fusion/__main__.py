"""`python -m workloads.fusion SPEC.json`: several finished models made one."""

import argparse
from pathlib import Path

from workloads.spec.errors import run_command
from workloads.spec.launch import FuseLaunch


def main() -> None:
    """Fuse the models of the spec named on the command line, saying how far it is."""
    parser = argparse.ArgumentParser(prog="python -m workloads.fusion", description="Fuse finished models into one.")
    parser.add_argument("spec", type=Path, help="a FuseLaunch as JSON")
    launch = FuseLaunch.load(parser.parse_args().spec)
    from workloads.fusion.fusing import FUSED, fuse  # noqa: PLC0415 - a mistake in the spec is told before torch is loaded

    manifest = fuse(launch, _say)
    told = ", ".join(f"{name} {value:.4f}" for name, value in manifest.metrics.items())
    _say(f"{launch.method} of {len(manifest.parents)} models: {launch.output / FUSED}{f', {told}' if told else ''}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the interface of a command


if __name__ == "__main__":
    run_command(main)
