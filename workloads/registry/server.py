"""`python -m workloads.registry.server --port PORT`: the MLflow server as one process, on loopback.

With `--folder FOLDER` it keeps all in SQLite and files. With `--artifacts ADDRESS` artefacts go to a store, and what is
known of them to the database that `MLFLOW_BACKEND_STORE_URI` names, whose schema is brought up to date first.

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
from workloads.spec.errors import UserError, run_command

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
DATABASE = "MLFLOW_BACKEND_STORE_URI"
DRAIN_S = 10


def main() -> None:
    """Serve until SIGTERM; requests in flight are finished."""
    parser = argparse.ArgumentParser(prog="python -m workloads.registry.server", description="MLflow.")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--folder", type=Path, help="where a database of its own and the artefacts are kept")
    place.add_argument("--artifacts", help=f"where the artefacts are kept, beside the database of {DATABASE}")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socket = listen(Endpoint(port=arguments.port))
    os.environ.update(SERVER_ENVIRONMENT)
    if arguments.folder is not None:
        folder = arguments.folder.resolve()
        database, artifacts = f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    else:
        database, artifacts = _database(), arguments.artifacts
        _bring_up_to_date(database)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of Starlette
        from mlflow import server  # noqa: PLC0415 - after the environment that MLflow reads
        from mlflow.server.fastapi_app import app  # noqa: PLC0415

        os.environ.update(
            {
                server.BACKEND_STORE_URI_ENV_VAR: database,
                server.SERVE_ARTIFACTS_ENV_VAR: "true",
                server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
                server.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
            }
        )
    print(f"registry listens on http://127.0.0.1:{arguments.port}", flush=True)  # noqa: T201
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_S)
    uvicorn.Server(config).run(sockets=[socket])


def _database() -> str:
    if not os.environ.get(DATABASE):
        raise UserError(f"--artifacts goes with a database, and {DATABASE} is not set; set it, or give --folder")
    return os.environ[DATABASE]


def _bring_up_to_date(database: str) -> None:
    """Make the tables, or change those of an older MLflow. Raises `UserError`: the database does not answer."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - after the environment that MLflow reads
    from mlflow.store.db import utils  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        engine = utils.create_sqlalchemy_engine_with_retry(database)
        # what `mlflow db upgrade` does, without a command line that would show the password
        change = utils._initialize_tables if utils._is_empty_database(engine) else utils._upgrade_db  # noqa: SLF001
        change(engine)
    except (MlflowException, SQLAlchemyError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(
            f"the database of {DATABASE} does not answer ({reason}); start it, or mend the address"
        ) from None


if __name__ == "__main__":
    run_command(main)
