"""The apps as programs under mocks, and what to look at in their objects."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from infra.apps import inference, registry, training
from infra.cloud_contracts import PoolContract
from infra.scope import Scope
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare
from tests.kit.schemas import manifests_of
from workloads.spec.recipe import Recipe, load_recipe


def _inside(scope: Scope) -> tuple[Scope, Any]:
    cluster = fakes.cluster(scope)
    return scope.component("Cluster", "inside", {"kubernetes": cluster.provider}), cluster


def trained(
    recipe: Recipe | None = None,
    pools: Sequence[PoolContract] | None = None,
    queue: Any = None,
    **changes: Any,
) -> CloudProgram:
    settings = cloud_settings(**changes)

    def body(scope: Scope) -> Any:
        inside, cluster = _inside(scope)
        return training.train(
            inside,
            settings,
            recipe or load_recipe("language"),
            pools or fakes.pools(),
            queue or fakes.queues(),
            fakes.link(),
            fakes.stores(scope),
            cluster,
            fakes.images(),
            fakes.certificates(),
            fakes.registry(),
            fakes.signing(),
        )

    return declare(body, settings)


def registered(restore_from: str | None = None, **changes: Any) -> CloudProgram:
    settings = cloud_settings(**changes)

    def body(scope: Scope) -> Any:
        inside, cluster = _inside(scope)
        return registry.registry(inside, settings, cluster, _stores(scope, restore_from), fakes.images(), fakes.mesh())

    return declare(body, settings)


def served(
    recipe: Recipe | None = None, restore_from: str | None = None, run_id: str | None = None, **changes: Any
) -> CloudProgram:
    if restore_from is not None:
        changes["cloud.storage.restore_from"] = restore_from
    settings = cloud_settings(**changes)

    def body(scope: Scope) -> Any:
        inside, cluster = _inside(scope)
        return inference.serve(
            inside,
            settings,
            recipe or load_recipe("language"),
            _stores(scope, restore_from),
            cluster,
            fakes.images(),
            fakes.mesh(),
            replace(fakes.training(), **({"run_id": run_id} if run_id else {})),
            fakes.signing(),
        )

    return declare(body, settings)


def _stores(scope: Scope, restore_from: str | None) -> Any:
    stores = fakes.stores(scope)
    return {site: replace(store, restore_from=restore_from) if store.arn else store for site, store in stores.items()}


def objects(program: CloudProgram, kind: str) -> dict[str, dict[str, Any]]:
    """By name."""
    return {each["metadata"]["name"]: each for each in manifests_of(program) if each["kind"] == kind}


def pod_specs(program: CloudProgram) -> list[dict[str, Any]]:
    """Of everything that makes pods."""
    found: list[dict[str, Any]] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            if "containers" in value:
                found.append(dict(value))
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for manifest in manifests_of(program):
        look(manifest.get("spec"))
    return found


def containers(pod: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in (*pod.get("initContainers", ()), *pod["containers"])}


def told(template: Mapping[str, Any]) -> dict[str, str]:
    """Files that a pod is given of its own annotations, by name."""
    items = [item for each in template["spec"]["volumes"] for item in each.get("downwardAPI", {}).get("items", ())]
    annotations = {f"metadata.annotations['{key}']": text for key, text in template["metadata"]["annotations"].items()}
    return {item["path"]: annotations[item["fieldRef"]["fieldPath"]] for item in items}


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}
