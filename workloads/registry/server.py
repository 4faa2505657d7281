"""`python -m workloads.registry.server --port PORT --folder FOLDER`: the MLflow server on SQLite, as one process.

`mlflow server` does the same through a parent that imports MLflow once more, which costs 5 s of start and 250 MB.
"""

import argparse
import os
import signal
import sys
import warnings
from pathlib import Path

import uvicorn

from workloads.inference.listening import listen
from workloads.spec.base import Endpoint
from workloads.spec.errors import run_command

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
DRAIN_S = 10


def main() -> None:
    """Serve until SIGTERM; requests in flight are finished."""
    parser = argparse.ArgumentParser(prog="python -m workloads.registry.server", description="MLflow on SQLite.")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--folder", type=Path, required=True, help="where the database and the artefacts are kept")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socket = listen(Endpoint(port=arguments.port))
    folder = arguments.folder.resolve()
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    os.environ.update(SERVER_ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of Starlette
        from mlflow import server  # noqa: PLC0415 - after the environment that MLflow reads
        from mlflow.server.fastapi_app import app  # noqa: PLC0415

        os.environ.update(
            {
                server.BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{folder / 'mlflow.db'}",
                server.SERVE_ARTIFACTS_ENV_VAR: "true",
                server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
                server.ARTIFACTS_DESTINATION_ENV_VAR: str(folder / "artifacts"),
            }
        )
    print(f"registry listens on http://127.0.0.1:{arguments.port}", flush=True)  # noqa: T201
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_S)
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    run_command(main)
