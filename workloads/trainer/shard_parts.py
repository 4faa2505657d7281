"""What a shard holds, by the kind of the recipe's data: made here, read by `shard_files`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workloads.spec.data import AudioData, ImageData, LabelledTextData, TableData, TextData
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError
from workloads.spec.launch import ShardLaunch
from workloads.spec.recipe import MlpModel
from workloads.trainer.audio import load_recordings
from workloads.trainer.classes import class_count
from workloads.trainer.dealing import Deal, deal_samples
from workloads.trainer.images import load_images
from workloads.trainer.labelled_texts import load_labelled_texts
from workloads.trainer.shard_files import DOCUMENTS, LABELS, Arrays, Part, write_part
from workloads.trainer.speech import DIGITS, SPOKEN_DIGITS, speak_digits
from workloads.trainer.tables import load_table, site_rows
from workloads.trainer.texts import open_texts, site_texts
from workloads.trainer.tokenizer import BYTES
from workloads.trainer.vocabulary import Vocabulary, open_vocabulary


@dataclass(frozen=True)
class Counts:
    """Samples of each part, rows or bytes of text, and training samples of each class."""

    samples: dict[Part, int]
    classes: tuple[int, ...] = ()


def write_data(launch: ShardLaunch, folder: Path, scratch: Path) -> Counts:
    """Write the parts of the site's data to `folder`; copies of what is not on this machine go below `scratch`.

    Raises:
        UserError: the source has no data for the site, or none that fits the recipe's model.
    """
    match launch.recipe.data:
        case TableData() as data:
            return _write_table(launch, data, folder, scratch)
        case TextData() as data:
            return _write_text(launch, data, folder, scratch)
        case LabelledTextData() as data:
            vocabulary = open_vocabulary(data.tokenizer, folder, scratch)
            check_vocabulary(launch, vocabulary)
            ids, labels, classes = load_labelled_texts(data, launch.site, vocabulary, scratch)
            return _write_samples(launch, folder, classes, {"ids": ids, "labels": labels})
        case ImageData() as data:
            pixels, labels, classes = load_images(data, launch.site, scratch)
            return _write_samples(launch, folder, classes, {"pixels": pixels, "labels": labels})
        case AudioData(source=source) as data if source == SPOKEN_DIGITS:
            return _write_speech(launch, data, folder)
        case AudioData() as data:
            waves, labels, classes = load_recordings(data, launch.site, scratch)
            return _write_samples(launch, folder, classes, {"waves": waves, "labels": labels})


def check_vocabulary(launch: ShardLaunch, vocabulary: Vocabulary) -> None:
    """Raises `UserError` if the recipe says how many tokens its model knows, and they are fewer than the tokenizer's."""
    config = getattr(launch.recipe.model, "config", {})
    known = config.get("vocab_size")
    if isinstance(known, int) and known < len(vocabulary.sizes):
        raise UserError(
            f"model.config.vocab_size {known} is less than the {len(vocabulary.sizes)} tokens of data.tokenizer; raise it"
        )


def _write_table(launch: ShardLaunch, data: TableData, folder: Path, scratch: Path) -> Counts:
    table = load_table(data, launch.site, scratch)
    _check_classes(launch, table.class_names)
    inputs = table.features.shape[1]
    if isinstance(launch.recipe.model, MlpModel) and launch.recipe.model.inputs != inputs:
        raise UserError(
            f"model.inputs {launch.recipe.model.inputs} does not fit {data.source}, whose rows have {inputs} features "
            f"({', '.join(table.feature_names[:12])}); set it to {inputs}"
        )
    share = site_rows(data, table.labels, launch.sites.index(launch.site), len(launch.sites))
    ensure_room(folder, table.features.nbytes, f"the data of {launch.site}")
    parts: dict[Part, Arrays] = {
        "train": {"row": share.train, "subset": share.subset},
        "held_out": {"row": share.held_out},
    }
    for part, arrays in parts.items():
        rows = arrays["row"]
        write_part(folder, part, {**arrays, "features": table.features[rows], "labels": table.labels[rows]})
    _write_labels(folder, {"features": table.feature_names, "classes": table.class_names})
    return Counts(
        {"train": len(share.train), "held_out": len(share.held_out)},
        _class_counts(table.labels[share.train].tolist(), len(table.class_names)),
    )


def _write_samples(launch: ShardLaunch, folder: Path, classes: Sequence[str], arrays: Arrays) -> Counts:
    """Deal samples that are alike but for their class."""
    data = launch.recipe.data
    _check_classes(launch, classes)
    deal = Deal(launch.site, launch.sites, data.seed, data.held_out)
    share = deal_samples(deal, data.source, arrays["labels"])
    ensure_room(folder, sum(array.nbytes for array in arrays.values()), f"the data of {launch.site}")
    write_part(folder, "train", {name: array[share.train] for name, array in arrays.items()})
    write_part(folder, "held_out", {name: array[share.held_out] for name, array in arrays.items()})
    _write_labels(folder, {"classes": classes})
    return Counts(
        {"train": len(share.train), "held_out": len(share.held_out)},
        _class_counts(arrays["labels"][share.train].tolist(), len(classes)),
    )


def _write_speech(launch: ShardLaunch, data: AudioData, folder: Path) -> Counts:
    _check_classes(launch, DIGITS)
    speech = speak_digits(data, Deal(launch.site, launch.sites, data.seed, data.held_out))
    ensure_room(folder, sum(part.waves.nbytes for part in speech.values()), f"the data of {launch.site}")
    parts: tuple[Part, ...] = ("train", "held_out")
    for part in parts:
        spoken = speech[part]
        write_part(folder, part, {"waves": spoken.waves, "labels": spoken.labels, "speaker": spoken.speakers})
    _write_labels(folder, {"classes": DIGITS, "source": f"{SPOKEN_DIGITS}: synthesised, no recordings"})
    return Counts(
        {part: len(speech[part].labels) for part in parts},
        _class_counts(speech["train"].labels.tolist(), len(DIGITS)),
    )


def _write_text(launch: ShardLaunch, data: TextData, folder: Path, scratch: Path) -> Counts:
    texts = open_texts(data, launch.site, scratch)
    share = site_texts(data, texts, launch.site, launch.sites)
    ensure_room(folder, data.max_bytes_per_site, f"the data of {launch.site}")
    vocabulary = None if data.tokenizer == BYTES else open_vocabulary(data.tokenizer, folder, scratch)
    if vocabulary is not None:
        check_vocabulary(launch, vocabulary)
    parts: dict[Part, list[str]] = {"train": share.train, "held_out": share.held_out}
    counts: dict[Part, int] = {}
    for part, documents in parts.items():
        contents = [texts.read(document) for document in documents]
        write_part(folder, part, _tokens(contents, vocabulary) if vocabulary else _bytes(contents))
        counts[part] = sum(map(len, contents))
    (folder / DOCUMENTS).write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")
    return Counts(counts)


def _bytes(contents: Sequence[bytes]) -> Arrays:
    boundaries = np.cumsum([0, *(len(content) for content in contents)], dtype=np.int64)
    return {"text": np.frombuffer(b"".join(contents), dtype=np.uint8), "boundaries": boundaries}


def _tokens(contents: Sequence[bytes], vocabulary: Vocabulary) -> Arrays:
    last = [] if vocabulary.end is None else [vocabulary.end]
    texts = [content.decode("utf-8", errors="replace") for content in contents]
    stream = [token for ids in vocabulary.encode_all(texts) for token in (*ids, *last)]
    return {"tokens": np.array(stream, dtype=np.int32), "sizes": vocabulary.sizes}


def _check_classes(launch: ShardLaunch, classes: Sequence[str]) -> None:
    expected = class_count(launch.recipe)
    if expected != len(classes):
        named = ", ".join(classes[:8]) + (f" and {len(classes) - 8} more" if len(classes) > 8 else "")
        key = "model.classes" if isinstance(launch.recipe.model, MlpModel) else "model.config.num_labels"
        raise UserError(
            f"site {launch.site}: {launch.recipe.data.source} has {len(classes)} classes ({named}), the model {expected}; "
            f"set {key} to {len(classes)}, or mend the data"
        )


def _class_counts(labels: Sequence[int], classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _write_labels(folder: Path, labels: dict[str, Sequence[str]]) -> None:
    (folder / LABELS).write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
