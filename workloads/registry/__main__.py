"""`python -m workloads.registry SPEC.json`: sign a model and register it."""

import argparse
import os
from pathlib import Path

from workloads.registry.lineage import verified_lineage
from workloads.spec.errors import run_command
from workloads.spec.launch import RegisterLaunch

# Read by MLflow when it is imported: nothing is reported to its makers, and a server that is away is told in seconds.
CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def main() -> None:
    """Register the model of the spec named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m workloads.registry", description="Sign and register a model.")
    parser.add_argument("spec", type=Path, help="a RegisterLaunch as JSON")
    launch = RegisterLaunch.load(parser.parse_args().spec)
    lineage = verified_lineage(launch)
    os.environ.update(CLIENT_ENVIRONMENT)
    from workloads.registry.registration import register  # noqa: PLC0415 - after the environment that MLflow reads

    result = register(launch, lineage)
    print(f"registered {result.name} version {result.version} as @{result.alias}: {result.url}", flush=True)  # noqa: T201


if __name__ == "__main__":
    run_command(main)
