"""`torchrun --nproc-per-node W -m workloads.trainer SPEC.json --site NAME`: train one site of a run.

A stop at any moment is safe: state is durable after every round, so SIGTERM keeps its prompt default, and the next
start goes on from the newest round that all sites have.
"""

import argparse
import os
from pathlib import Path

from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.trainer.finished import finished_result


def main() -> None:
    """Parse the command line and train, unless the run is finished."""
    parser = argparse.ArgumentParser(prog="python -m workloads.trainer", description="Train one site of a run.")
    parser.add_argument("spec", type=Path, help="LaunchSpec as JSON")
    parser.add_argument("--site", required=True, help="name of the site to be")
    arguments = parser.parse_args()
    launch = LaunchSpec.load(arguments.spec)
    site = _find_site(launch, arguments.site)
    if finished_result(launch) is not None:
        if os.environ.get("RANK", "0") == "0":
            print(f"{site.name}: run {launch.run_id} is finished already", flush=True)  # noqa: T201
        return

    from workloads.trainer.train import train_site  # noqa: PLC0415 - torch takes seconds that a mistake need not wait

    train_site(launch, site)


def _find_site(launch: LaunchSpec, name: str) -> SiteLaunch:
    try:
        return launch.site(name)
    except KeyError:
        names = ", ".join(site.name for site in launch.sites)
        raise UserError(f"--site {name!r} is not in the run; choose one of {names}") from None


if __name__ == "__main__":
    run_command(main)
