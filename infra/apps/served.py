"""What is served, by whom, and what its replicas are launched with. Pure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.access.signing import PUBLIC, RECOVERED
from infra.apps.allotments import of_replica
from infra.apps.pods import EVERYWHERE, WORK
from infra.cloud_contracts import ImagesContract
from infra.cloud_settings import ServingSettings
from infra.mesh import ports
from workloads.spec.base import Endpoint
from workloads.spec.delivery import FetchLaunch, Store
from workloads.spec.errors import UserError
from workloads.spec.launch import ServeLaunch
from workloads.spec.recipe import Recipe, TransformersModel

NAME: Final = "inference"
ACCOUNT: Final = "inference"  # whom the mesh lets be asked
FETCH, SERVE = "fetch.json", "serve.json"
TRUST: Final = Path("/etc/isthmus/trust")
MODEL: Final = WORK / "model"


@dataclass(frozen=True)
class Service:
    """What is served, and how."""

    recipe: Recipe
    alias: str
    run_id: str | None  # that replicas wait for; None: what the alias means
    serving: ServingSettings
    images: ImagesContract
    trust: str  # ConfigMap of the public keys
    takes_over: bool  # models of a platform that was lost are trusted and served too

    @property
    def is_vllm(self) -> bool:
        return self.serving.runtime == "vllm"


def require_servable(recipe: Recipe, serving: ServingSettings) -> None:
    """Raises `UserError` for a model that the runtime does not serve, and for GPUs that do not fit it."""
    if serving.runtime == "onnx":
        if serving.gpus:
            raise UserError(
                f"serving.gpus {serving.gpus} with runtime onnx, which computes on the CPU; set "
                "cloud.serving.gpus: 0, or runtime: vllm"
            )
        return
    kind = recipe.model
    if not isinstance(kind, TransformersModel) or kind.auto != "causal-lm":
        raise UserError(
            f"runtime vllm serves language models, and recipe {recipe.name} is none; set cloud.serving.runtime: onnx"
        )
    if not serving.gpus:
        raise UserError("runtime vllm needs GPUs, and serving.gpus is 0; set cloud.serving.gpus to 1 or more")


def specs(service: Service, site: str, stores: tuple[Store, ...]) -> dict[str, str]:
    """The launches of a replica at a site, by file. `stores` are its own, and what a recovery reads beside it."""
    keys = (TRUST / PUBLIC, *((TRUST / RECOVERED,) if service.takes_over else ()))
    fetch = FetchLaunch(
        stores=stores,
        recipe=service.recipe.name,
        alias=service.alias,
        run_id=service.run_id,
        public_keys=keys,
        folder=WORK,
    )
    serve = ServeLaunch(
        site=site,
        recipe=service.recipe,
        model=MODEL,
        version=None,
        public_key=keys[0],
        further_keys=keys[1:],
        listen=Endpoint(port=ports.INFERENCE),
        credentials=None,
        health=Endpoint(host=EVERYWHERE, port=ports.INFERENCE_HEALTH),
        threads=max(1, of_replica(service.recipe, service.serving).millicores // 1000),
    )
    return {FETCH: fetch.model_dump_json(indent=1), SERVE: serve.model_dump_json(indent=1)}


def name_at(site: str) -> str:
    """Of the Deployment at a site."""
    return f"{NAME}-{site}"


def selector(site: str) -> dict[str, str]:
    """Labels of the replicas at a site."""
    return {ports.APP_LABEL: NAME, ports.SITE_LABEL: site}
