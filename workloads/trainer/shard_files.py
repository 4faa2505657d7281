"""The files of a site's shard, and the way that text is read from them. Needs numpy alone.

A shard holds `train.safetensors` and `held_out.safetensors`. A table's have `features` float32 [rows, inputs], `labels`
int64 [rows], `row` int64 [rows] (the row's number in the source) and, in the training part, `subset` int64 [rows].
A text's have `text` uint8 [bytes], all documents end to end, and `boundaries` int64 [documents + 1].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from workloads.spec.artifact import MANIFEST
from workloads.spec.base import file_digest
from workloads.spec.errors import UserError
from workloads.spec.launch import ShardManifest
from workloads.trainer.tokenizer import BEGIN, END

Part = Literal["train", "held_out"]
Arrays = Mapping[str, NDArray[Any]]

LABELS = "labels.json"  # a table's `{"features": [...], "classes": [...]}`
DOCUMENTS = "documents.json"  # a text's `{"train": [paths], "held_out": [paths]}`


def write_part(folder: Path, part: Part, arrays: Arrays) -> None:
    """Write one part of a shard."""
    save_file(dict(arrays), folder / f"{part}.safetensors")


def read_part(folder: Path, part: Part) -> Arrays:
    """One part of the shard in `folder`."""
    return load_file(folder / f"{part}.safetensors")


def verify_shard(folder: Path, data_digest: str) -> ShardManifest:
    """The manifest of the shard in `folder`, once its files agree with it and it with `data_digest`.

    Raises:
        UserError: there is no data, or it is not the data that the run was launched for.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: the site has no data; run `make up` to make its shard")
    manifest = ShardManifest.load(folder / MANIFEST)
    if manifest.data_digest != data_digest:
        raise UserError(
            f"{folder}: data {manifest.data_digest[:12]} is not the {data_digest[:12]} that the run was launched for; "
            "run `make up` to launch it again"
        )
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            raise UserError(f"{path} is missing or was changed; delete {folder} and run `make up` to make it again")
    return manifest


def token_stream(part: Arrays) -> NDArray[np.int16]:
    """Tokens [bytes + 2 x documents] of a text: each document as begin, its bytes, end."""
    text, boundaries = part["text"], part["boundaries"]
    starts, ends = boundaries[:-1], boundaries[1:]
    places = np.stack([starts, ends], axis=1).ravel()
    marks = np.tile(np.array([BEGIN, END], dtype=np.int16), len(starts))
    return np.insert(text.astype(np.int16), places, marks)


def token_windows(part: Arrays, context: int) -> NDArray[np.int16]:
    """Windows [windows, context + 1] over a text; the last token of one is the first of the next.

    Raises:
        UserError: the text is shorter than one window.
    """
    stream = token_stream(part)
    if len(stream) <= context:
        raise UserError(
            f"{len(stream)} tokens of text are less than one window of {context + 1}; "
            "lower data.context or raise data.max_bytes_per_site"
        )
    return np.lib.stride_tricks.sliding_window_view(stream, context + 1)[::context]
