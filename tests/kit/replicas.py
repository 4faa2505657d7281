"""Real inference replicas over models from `tests.kit.artefacts`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.kit.artefacts import SigningKeys, make_picture_model, make_signing_keys, make_table_model, make_text_model
from tests.kit.ports import free_port
from tests.kit.processes import running_module
from workloads.registry.signing import sign
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.launch import ServeLaunch
from workloads.spec.recipe import Recipe, ServeSpec, load_recipe

TABLE = load_recipe("iris").model_copy(update={"serve": ServeSpec(max_batch=4, max_request_bytes=2048)})
CONTEXT = 64
TEXT = load_recipe("language", {"model.config.max_position_embeddings": CONTEXT, "data.context": CONTEXT})

PICTURES = Recipe.model_validate(
    {
        "name": "pictures",
        "description": "Pictures of four pixels.",
        "model": {"kind": "transformers", "auto": "image-classification", "config": {"model_type": "vit"}},
        "data": {"kind": "images", "source": "digits", "size": 2, "channels": 1, "held_out": 0.2},
        "train": {"epochs": 1, "steps_per_epoch": 1, "inner": {"lr": 0.001, "batch": 4, "steps": 1}},
        "compress": {"gate": {"metric": "accuracy", "bound": 0.5, "max_relative_loss": 0.1}},
        "serve": {"max_batch": 4},
    }
)


@dataclass(frozen=True)
class Replica:
    """A replica that answers."""

    url: str
    process: psutil.Process


def table_launch(folder: Path, credentials: Credentials | None = None) -> ServeLaunch:
    keys = make_signing_keys(folder)
    make_table_model(folder / "model", TABLE)
    return _launch(folder, TABLE, keys, credentials)


def text_launch(folder: Path, follows: dict[int, int], recipe: Recipe = TEXT) -> ServeLaunch:
    keys = make_signing_keys(folder)
    context = int(str(recipe.model.config["max_position_embeddings"]))
    make_text_model(folder / "model", recipe, follows, context)
    return _launch(folder, recipe, keys, None)


def picture_launch(folder: Path) -> ServeLaunch:
    keys = make_signing_keys(folder)
    make_picture_model(folder / "model", PICTURES)
    return _launch(folder, PICTURES, keys, None)


@contextmanager
def running_replica(launch: ServeLaunch, folder: Path) -> Iterator[Replica]:
    launch.save(folder / "serve.json")
    with running_module("workloads.inference", folder / "serve.json", log=folder / "log") as process:
        scheme = "https" if launch.credentials else "http"
        yield Replica(f"{scheme}://{launch.listen}", psutil.Process(process.pid))


def _launch(folder: Path, recipe: Recipe, keys: SigningKeys, credentials: Credentials | None) -> ServeLaunch:
    sign(folder / "model", keys.private)
    return ServeLaunch(
        site="aws-1",
        recipe=recipe,
        model=folder / "model",
        version="3",
        public_key=keys.public,
        listen=Endpoint(port=free_port()),
        credentials=credentials,
    )
