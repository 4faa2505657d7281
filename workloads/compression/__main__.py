"""`python -m workloads.compression SPEC.json`: the trained model, small enough to serve and still good enough."""

import argparse
import os
from pathlib import Path

from workloads.compression.finished import finished_result
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.errors import run_command
from workloads.spec.launch import CompressLaunch


def main() -> None:
    """Compress the model of the spec named on the command line, saying what was tried."""
    parser = argparse.ArgumentParser(prog="python -m workloads.compression", description="Compress a trained model.")
    parser.add_argument("spec", type=Path, help="CompressLaunch as JSON")
    launch = CompressLaunch.load(parser.parse_args().spec)
    trained = ArtifactManifest.load(launch.model / MANIFEST)
    trained.verify(launch.model)
    result = finished_result(launch, trained)
    if result is None:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        from workloads.compression.search import compress  # noqa: PLC0415 - seconds that a finished one need not wait

        result = compress(launch, trained, _say)
    _say(
        f"{launch.recipe.name}: {result.metric} {result.before:.4f} -> {result.after:.4f}, "
        f"{result.bytes_before:,} -> {result.bytes_after:,} bytes, pruned by {result.prune_ratio:.0%}"
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the interface of a command


if __name__ == "__main__":
    run_command(main)
