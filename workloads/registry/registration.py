"""Registration in MLflow: one run with parameters, metrics and artefacts, one version with its lineage as tags."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException, RestException
from pydantic import JsonValue

from workloads.registry.signing import sign
from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, RegisterResult
from workloads.spec.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from workloads.spec.launch import RegisterLaunch

MODEL_DIGEST_TAG = "isthmus.model_digest"


def register(launch: "RegisterLaunch") -> RegisterResult:
    """Sign `launch.model`, register it under the recipe's name and point the alias at it.

    The digest of the model's manifest is its identity: a model that is registered already keeps its version, and a
    registration that was interrupted goes on with the run that it had made.

    Raises:
        UserError: a file of either artefact was changed, the two do not belong together, the key cannot be read, or
            the registry does not answer or refuses.
    """
    started = time.monotonic()
    manifest = _verified_lineage(launch)
    sign(launch.model, launch.signing_key)
    if not launch.registry.startswith(("http://", "https://")):
        raise UserError(f"registry {launch.registry!r} is not an http(s) URL; give the address of an MLflow server")
    try:
        version = _registered_version(launch, manifest)
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
        model_digest=manifest.digest(),
        wall_s=time.monotonic() - started,
    )
    result.save(launch.output / RESULT)
    return result


def _verified_lineage(launch: "RegisterLaunch") -> ArtifactManifest:
    trained = ArtifactManifest.load(launch.trained / MANIFEST)
    trained.verify(launch.trained)
    manifest = ArtifactManifest.load(launch.model / MANIFEST)
    manifest.verify(launch.model)
    if trained.digest() not in manifest.parents:
        raise UserError(
            f"{launch.model} was made from {', '.join(manifest.parents) or 'nothing known'}, not from {launch.trained} "
            f"({trained.digest()}); compress that model again"
        )
    return manifest


def _registered_version(launch: "RegisterLaunch", manifest: ArtifactManifest) -> "ModelVersion":
    client = MlflowClient(tracking_uri=launch.registry, registry_uri=launch.registry)
    name = launch.recipe.name
    same_digest = f"`{MODEL_DIGEST_TAG}` = '{manifest.digest()}'"
    known = client.search_model_versions(f"name = '{name}' and tag.{same_digest}")
    version = known[0] if known else _new_version(client, launch, manifest, same_digest)
    client.set_registered_model_alias(name, launch.alias, version.version)
    return version


def _new_version(
    client: MlflowClient, launch: "RegisterLaunch", manifest: ArtifactManifest, same_digest: str
) -> "ModelVersion":
    name, tags = launch.recipe.name, lineage_tags(manifest)
    experiment = _experiment_id(client, name)
    started_runs = client.search_runs([experiment], f"tag.{same_digest}", max_results=1)
    run = started_runs[0] if started_runs else client.create_run(experiment, run_name=manifest.run_id, tags=tags)
    _log(client, run, launch, manifest)
    client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.FINISHED))
    try:
        client.create_registered_model(name, description=launch.recipe.description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)


def _experiment_id(client: MlflowClient, name: str) -> str:
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.get_experiment_by_name(name).experiment_id)


def _log(client: MlflowClient, run: "Run", launch: "RegisterLaunch", manifest: ArtifactManifest) -> None:
    run_id = run.info.run_id
    trained = ArtifactManifest.load(launch.trained / MANIFEST)
    now_ms = time.time_ns() // 1_000_000
    client.log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in _flat(launch.recipe.model_dump(mode="json"))],
        metrics=[
            Metric(f"{stage.kind}.{key}", float(value), now_ms, 0)
            for stage in (trained, manifest)
            for key, value in {**stage.metrics, "parameters": stage.parameters}.items()
        ],
    )
    client.log_artifact(run_id, str(launch.trained / MANIFEST), "trained")
    client.log_artifacts(run_id, str(launch.model), "model")


def lineage_tags(manifest: ArtifactManifest) -> dict[str, str]:
    """Where a model comes from, as tags: recipe, code, data of each site, training run and parent artefacts."""
    return {
        MODEL_DIGEST_TAG: manifest.digest(),
        "isthmus.run_id": manifest.run_id,
        "isthmus.recipe": manifest.recipe,
        "isthmus.recipe_digest": manifest.recipe_digest,
        "isthmus.code_version": manifest.code_version,
        "isthmus.parents": ",".join(manifest.parents),
        **{f"isthmus.data_digest.{site}": digest for site, digest in manifest.data_digests.items()},
    }


def _flat(value: JsonValue, prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _flat(child, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value
