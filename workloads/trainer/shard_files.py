"""The files of a site's shard, and the way that samples are read from them. Needs numpy alone.

A shard holds `train.safetensors` and `held_out.safetensors`. Samples with a class have `labels` int64 [samples] and one of
- `features` float32 [samples, inputs] of a table, with `row` int64 [samples] (the row's number in the source) and, in the
  training part, `subset` int64 [samples];
- `pixels` uint8 [samples, channels, size, size] of pictures;
- `waves` int16 [samples, length] of recordings;
- `ids` int32 [samples, context] of labelled texts.

A text has `text` uint8 [bytes], all documents end to end, and `boundaries` int64 [documents + 1]; or, of a tokenizer of
its own, `tokens` int32 [tokens], each document with its marks, and `sizes` int64 [vocabulary], the bytes of each token.
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

LABELS = "labels.json"  # `{"classes": [...]}`, of a table with `"features": [...]`
DOCUMENTS = "documents.json"  # a text's `{"train": [paths], "held_out": [paths]}`

_HALF_OF_WHITE = 127.5
_SILENT = 1e-3  # of 16 bits: less is not made louder


def write_part(folder: Path, part: Part, arrays: Arrays) -> None:
    """Write one part of a shard."""
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / f"{part}.safetensors")


def read_part(folder: Path, part: Part) -> Arrays:
    """One part of the shard in `folder`."""
    return load_file(folder / f"{part}.safetensors")


def verify_shard(folder: Path, data_digest: str | None) -> ShardManifest:
    """The manifest of the shard in `folder`, once its files agree with it and it with `data_digest`, if that is known.

    Raises:
        UserError: there is no data, or it is not the data that the run was launched for.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: the site has no data; run `make up` to make its shard")
    manifest = ShardManifest.load(folder / MANIFEST)
    if data_digest is not None and manifest.data_digest != data_digest:
        raise UserError(
            f"{folder}: data {manifest.data_digest[:12]} is not the {data_digest[:12]} that the run was launched for; "
            "run `make up` to launch it again"
        )
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            raise UserError(f"{path} is missing or was changed; delete {folder} and run `make up` to make it again")
    return manifest


def samples_of(part: Arrays, rows: NDArray[Any] | slice) -> NDArray[Any]:
    """What a model is shown of samples with a class: the array's `rows`, as numbers of a size that it learns well from.

    Features float32 as they are; pixels float32 from -1 to 1; waves float32 with mean 0 and variance 1 each, as
    wav2vec2's are; ids int64.
    """
    samples: NDArray[Any]
    if "features" in part:
        samples = part["features"][rows]
    elif "pixels" in part:
        samples = part["pixels"][rows].astype(np.float32) / np.float32(_HALF_OF_WHITE) - np.float32(1)
    elif "waves" in part:
        waves = part["waves"][rows].astype(np.float32)
        centred = waves - waves.mean(axis=1, keepdims=True)
        samples = centred / (centred.std(axis=1, keepdims=True) + np.float32(_SILENT))
    else:
        samples = part["ids"][rows].astype(np.int64)
    return samples


def token_stream(part: Arrays) -> NDArray[np.int16] | NDArray[np.int32]:
    """Tokens [tokens] of a text: each document as begin, its bytes or tokens, end."""
    if "tokens" in part:
        return part["tokens"]
    text, boundaries = part["text"], part["boundaries"]
    starts, ends = boundaries[:-1], boundaries[1:]
    places = np.stack([starts, ends], axis=1).ravel()
    marks = np.tile(np.array([BEGIN, END], dtype=np.int16), len(starts))
    return np.insert(text.astype(np.int16), places, marks)


def token_sizes(part: Arrays) -> NDArray[np.int64]:
    """Bytes of text [vocabulary] that each token of a text's part stands for; marks stand for none."""
    return part.get("sizes", BYTE_SIZES)


BYTE_SIZES = np.array([1] * BEGIN + [0, 0], dtype=np.int64)


def token_windows(part: Arrays, context: int) -> NDArray[Any]:
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
    windows: NDArray[Any] = np.lib.stride_tricks.sliding_window_view(stream, context + 1)[::context]
    return windows
