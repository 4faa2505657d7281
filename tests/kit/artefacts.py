"""Signed models made in milliseconds, with outputs that a test can foresee, and the keys to go with them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from onnx import TensorProto, helper, numpy_helper

from workloads.inference.session import GRAPH
from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.recipe import Recipe
from workloads.trainer.finished import RECIPE
from workloads.trainer.shard_files import LABELS
from workloads.trainer.tokenizer import BEGIN, END, VOCABULARY, save_tokenizer

CLASSES = ("setosa", "versicolor", "virginica")


@dataclass(frozen=True)
class SigningKeys:
    """PEM files of one EC P-256 key pair."""

    private: Path
    public: Path


def make_signing_keys(folder: Path) -> SigningKeys:
    folder.mkdir(parents=True, exist_ok=True)
    keys = SigningKeys(folder / "signing.pem", folder / "signing.pub")
    key = ec.generate_private_key(ec.SECP256R1())
    keys.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return keys


def make_trained(folder: Path, recipe: Recipe, parents: tuple[str, ...] = ()) -> ArtifactManifest:
    """An artefact whose weights nobody reads: of kind `fused` if it has parents, else `trained`."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    return write_manifest(folder, recipe, "fused" if parents else "trained", parents)


def make_table_model(folder: Path, recipe: Recipe, parents: tuple[str, ...] = ()) -> ArtifactManifest:
    """Class i has feature i as its logit: the largest of the first three features wins."""
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "weights")
    node = helper.make_node("MatMul", ["features", "weights"], ["logits"])
    _write_graph(folder, [node], weights, ("features", TensorProto.FLOAT, ["batch", 4]), ["batch", 3])
    (folder / LABELS).write_text(json.dumps({"features": list("abcd"), "classes": CLASSES}), encoding="utf-8")
    return write_manifest(folder, recipe, "compressed", parents)


def make_picture_model(folder: Path, recipe: Recipe) -> ArtifactManifest:
    """Pictures of one channel and 2 x 2 pixels: class i has the i-th pixel, read row by row, as its logit."""
    squeeze = helper.make_node("Flatten", ["pixel_values"], ["flat"])
    product = helper.make_node("MatMul", ["flat", "weights"], ["logits"])
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "weights")
    source = ("pixel_values", TensorProto.FLOAT, ["batch", 1, 2, 2])
    _write_graph(folder, [squeeze, product], weights, source, ["batch", 3])
    (folder / LABELS).write_text(json.dumps({"classes": CLASSES}), encoding="utf-8")
    return write_manifest(folder, recipe, "compressed")


def make_text_model(folder: Path, recipe: Recipe, follows: Mapping[int, int], context: int = 64) -> ArtifactManifest:
    """A model that has seen one thing: token `follows[t]` comes after token t, and the end after any other."""
    table = np.zeros((VOCABULARY, VOCABULARY), dtype=np.float32)
    table[np.arange(VOCABULARY), [follows.get(token, END) for token in range(VOCABULARY)]] = 20.0
    node = helper.make_node("Gather", ["table", "input_ids"], ["logits"], axis=0)
    tensor = numpy_helper.from_array(table, "table")
    shape = ["batch", "sequence"]
    facts = {"context": str(context), "vocabulary": str(VOCABULARY)}
    _write_graph(folder, [node], tensor, ("input_ids", TensorProto.INT64, shape), [*shape, VOCABULARY], facts)
    save_tokenizer(folder, context)
    return write_manifest(folder, recipe, "compressed")


def follow_text(text: str, after: int = BEGIN) -> dict[int, int]:
    """The rule that writes `text` after the token `after`. No byte of `text` may come twice."""
    tokens = [after, *text.encode()]
    assert len(set(tokens)) == len(tokens), f"{text!r} has a byte twice"
    return dict(pairwise(tokens))


def write_manifest(folder: Path, recipe: Recipe, kind: str, parents: tuple[str, ...] = ()) -> ArtifactManifest:
    (folder / RECIPE).write_text(recipe.model_dump_json(), encoding="utf-8")
    manifest = ArtifactManifest(
        kind=kind,
        run_id="run-1",
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        data_digests={"aws-1": "a" * 64, "os-1": "b" * 64},
        code_version="0.1.0+abc",
        parents=parents,
        metrics={recipe.compress.gate.metric: 0.97, "loss": 0.1},
        parameters=12,
        files=ArtifactManifest.of_files(folder),
    )
    manifest.save(folder / MANIFEST)
    return manifest


def _write_graph(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: onnx.TensorProto,
    source: tuple[str, int, list[str | int]],
    logits_shape: list[str | int],
    facts: Mapping[str, str] | None = None,
) -> None:
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits_shape)],
        [weights],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    helper.set_model_props(model, dict(facts or {}))
    onnx.save(model, folder / GRAPH)
