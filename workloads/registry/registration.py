"""Registration in MLflow: one run with parameters, metrics and artefacts, one version with its lineage as tags."""

import time
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus
from mlflow.exceptions import MlflowException, RestException

from workloads.registry.experiments import experiment_id, log_params
from workloads.registry.lineage import MODEL_DIGEST_TAG, Lineage
from workloads.registry.signing import sign
from workloads.spec.artifact import MANIFEST, RESULT, RegisterResult
from workloads.spec.errors import UserError
from workloads.spec.launch import RegisterLaunch

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


def register(launch: RegisterLaunch, lineage: Lineage) -> RegisterResult:
    """Sign `launch.model`, register it under the recipe's name and point the alias at it.

    The digest of the model's manifest is its identity: a model that is registered already keeps its version, and a
    registration that was interrupted goes on with the run that it had made.

    Raises:
        UserError: the key cannot be read, or the registry does not answer or refuses.
    """
    started = time.monotonic()
    if not launch.registry.startswith(("http://", "https://")):
        raise UserError(f"registry {launch.registry!r} is not an http(s) URL; give the address of an MLflow server")
    sign(launch.model, launch.signing_key)
    try:
        version = _registered_version(launch, lineage)
    except RestException as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"registry {launch.registry} refused: {reason}; its log says more") from None
    except MlflowException:
        raise UserError(f"registry {launch.registry} does not answer; start it with `make up`") from None
    result = RegisterResult(
        name=launch.recipe.name,
        version=str(version.version),
        alias=launch.alias,
        run_id=version.run_id,
        url=f"{launch.registry.rstrip('/')}/#/models/{launch.recipe.name}/versions/{version.version}",
        model_digest=lineage.compressed.digest(),
        wall_s=time.monotonic() - started,
    )
    result.save(launch.output / RESULT)
    return result


def _registered_version(launch: RegisterLaunch, lineage: Lineage) -> "ModelVersion":
    client = MlflowClient(tracking_uri=launch.registry, registry_uri=launch.registry)
    name = launch.recipe.name
    same_digest = f"tag.`{MODEL_DIGEST_TAG}` = '{lineage.compressed.digest()}'"
    known = client.search_model_versions(f"name = '{name}' and {same_digest}")
    version = known[0] if known else _new_version(client, launch, lineage, same_digest)
    client.set_registered_model_alias(name, launch.alias, version.version)
    return version


def _new_version(client: MlflowClient, launch: RegisterLaunch, lineage: Lineage, same_digest: str) -> "ModelVersion":
    name, tags = launch.recipe.name, lineage.tags()
    experiment = experiment_id(client, name)
    begun = client.search_runs([experiment], same_digest, max_results=1)
    run = begun[0] if begun else client.create_run(experiment, run_name=lineage.compressed.run_id, tags=tags)
    _log(client, run, launch, lineage)
    client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.FINISHED))
    try:
        client.create_registered_model(name, description=launch.recipe.description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)


def _log(client: MlflowClient, run: "Run", launch: RegisterLaunch, lineage: Lineage) -> None:
    run_id = run.info.run_id
    now_ms = time.time_ns() // 1_000_000
    log_params(client, run_id, launch.recipe.model_dump(mode="json"))
    client.log_batch(
        run_id,
        metrics=[
            Metric(f"{stage.kind}.{key}", float(value), now_ms, 0)
            for stage in (lineage.trained, lineage.compressed)
            for key, value in {**stage.metrics, "parameters": stage.parameters}.items()
        ],
    )
    client.log_artifact(run_id, str(launch.trained / MANIFEST), "trained")
    client.log_artifacts(run_id, str(launch.model), "model")
