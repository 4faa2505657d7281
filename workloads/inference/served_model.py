"""One verified model in memory: its tensors, its limits and the function that it computes."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from workloads.inference.session import GRAPH, open_session, predictor
from workloads.registry.signing import verify_signature
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.errors import UserError
from workloads.spec.launch import ServeLaunch
from workloads.spec.recipe import MlpModel
from workloads.trainer.shard_files import LABELS

Datatype = Literal["FP32", "INT64", "BYTES"]
ANY = -1  # an extent that a request chooses

RUNS_AT_ONCE = 2  # one computes while the next is prepared; more would only share the same cores


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of a tensor; `ANY` stands for an extent that a request chooses."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class ServedModel:
    """A model that was verified before it was loaded.

    Raises:
        UserError: the signature or the manifest does not match the files, or they are of another recipe.
    """

    def __init__(self, launch: ServeLaunch) -> None:
        verify_signature(launch.model, launch.public_key)
        manifest = ArtifactManifest.load(launch.model / MANIFEST)
        manifest.verify(launch.model)
        if manifest.recipe != launch.recipe.name:
            raise UserError(f"{launch.model} is of recipe {manifest.recipe!r}, not {launch.recipe.name!r}; serve that")
        self.name = launch.recipe.name
        self.version = launch.version
        self.max_batch = launch.recipe.serve.max_batch
        self.classes: tuple[str, ...] = ()
        shape = launch.recipe.model
        if isinstance(shape, MlpModel):
            self.classes = tuple(json.loads((launch.model / LABELS).read_text(encoding="utf-8"))["classes"])
            self.vocabulary = self.context = 0
            self.input = TensorSpec("features", "FP32", (ANY, shape.inputs))
            self.outputs: tuple[TensorSpec, ...] = (
                TensorSpec("logits", "FP32", (ANY, shape.classes)),
                TensorSpec("label", "BYTES", (ANY,)),
            )
        else:
            self.vocabulary = int(str(shape.config["vocab_size"]))
            self.context = int(str(shape.config["max_position_embeddings"]))
            self.input = TensorSpec("input_ids", "INT64", (ANY, ANY))
            self.outputs = (TensorSpec("logits", "FP32", (ANY, ANY, self.vocabulary)),)
        self._predict = predictor(open_session(launch.model / GRAPH, launch.threads))
        self._turns = anyio.CapacityLimiter(RUNS_AT_ONCE)

    async def logits(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of a batch of inputs, computed off the event loop, in turn with other requests."""
        return await anyio.to_thread.run_sync(self._predict, inputs, limiter=self._turns)

    def labels(self, logits: NDArray[np.float32]) -> list[str]:
        """The name of the likeliest class of each row of `logits` [rows, classes]."""
        return [self.classes[index] for index in logits.argmax(axis=-1)]
