"""One verified model in memory: its tensors, its limits and the function that it computes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from workloads.inference.session import CONTEXT, GRAPH, VOCABULARY, Reader, open_session, predictor
from workloads.registry.signing import verify_signature
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.errors import UserError
from workloads.spec.launch import ServeLaunch
from workloads.trainer.shard_files import LABELS

Datatype = Literal["FP32", "INT64", "BYTES"]
ANY = -1  # an extent that a request chooses

RUNS_AT_ONCE = 2  # one computes while the next is prepared; more would only share the same cores
_DATATYPES: dict[str, Datatype] = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of a tensor; `ANY` stands for an extent that a request chooses."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class ServedModel:
    """A model that was verified before it was loaded. Its tensors are those of its graph; classes add their names.

    Raises:
        UserError: the signature or the manifest does not match the files, or they are of another recipe.
    """

    def __init__(self, launch: ServeLaunch) -> None:
        verify_signature(launch.model, launch.public_key, *launch.further_keys)
        manifest = ArtifactManifest.load(launch.model / MANIFEST)
        manifest.verify(launch.model)
        if manifest.recipe != launch.recipe.name:
            raise UserError(f"{launch.model} is of recipe {manifest.recipe!r}, not {launch.recipe.name!r}; serve that")
        self.name = launch.recipe.name
        self.version = launch.version or ""
        self.max_batch = launch.recipe.serve.max_batch
        self._session = open_session(launch.model / GRAPH, launch.threads)
        self._predict = predictor(self._session)
        self._turns = anyio.CapacityLimiter(RUNS_AT_ONCE)
        facts = self._session.get_modelmeta().custom_metadata_map
        self.context, self.vocabulary = int(facts.get(CONTEXT, 0)), int(facts.get(VOCABULARY, 0))  # 0: not of text
        self.input = _spec_of(self._session.get_inputs()[0])
        self.outputs: tuple[TensorSpec, ...] = (_spec_of(self._session.get_outputs()[0]),)
        self.classes: tuple[str, ...] = ()
        labels = launch.model / LABELS
        if labels.exists():
            self.classes = tuple(json.loads(labels.read_text(encoding="utf-8"))["classes"])
            probabilities = TensorSpec("probabilities", "FP32", self.outputs[0].shape)
            self.outputs += (TensorSpec("label", "BYTES", (ANY,)), probabilities)

    async def logits(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of a batch of inputs, computed off the event loop, in turn with other requests."""
        return await anyio.to_thread.run_sync(self._predict, inputs, limiter=self._turns)

    def reader(self) -> Reader:
        """A text that nothing was read of yet, for `read`."""
        return Reader(self._session)

    async def read(self, reader: Reader, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits [vocabulary] of what follows `tokens` in the text of `reader`, computed as those of `logits`."""
        return await anyio.to_thread.run_sync(reader.read, tokens, limiter=self._turns)

    def labels(self, logits: NDArray[np.float32]) -> list[str]:
        """The name of the likeliest class of each row of `logits` [rows, classes]."""
        return [self.classes[index] for index in logits.argmax(axis=-1)]


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _spec_of(tensor: Any) -> TensorSpec:
    """A graph's input or output; its extents that have a name in place of a number are chosen by requests."""
    shape = tuple(extent if isinstance(extent, int) else ANY for extent in tensor.shape)
    return TensorSpec(tensor.name, _DATATYPES[tensor.type], shape)
