"""What a registration and a training run's tracking both do with MLflow."""

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.exceptions import MlflowException
from pydantic import JsonValue

_PARAMS_A_REQUEST = 100  # the server refuses more; a large model's configuration alone has about as many
_LONGEST_PARAM = 6000  # characters; likewise


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment `name`, made if there is none."""
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.get_experiment_by_name(name).experiment_id)


def log_params(client: MlflowClient, run_id: str, settings: JsonValue) -> None:
    """Nested settings as parameters of a run, one a leaf. MLflow takes the same value again, and refuses another."""
    params = [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in _flat(settings)]
    for start in range(0, len(params), _PARAMS_A_REQUEST):
        client.log_batch(run_id, params=params[start : start + _PARAMS_A_REQUEST])


def _flat(value: JsonValue, prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Leaves of nested mappings with their dotted keys."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _flat(child, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value
