"""Texts with a class each, as ids of one length."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workloads.spec.data import LabelledTextData
from workloads.spec.errors import UserError
from workloads.trainer.dealing import number_classes
from workloads.trainer.sources import ROWS, fetch, is_address, read_rows, site_address
from workloads.trainer.vocabulary import Vocabulary


def load_labelled_texts(
    data: LabelledTextData, site: str, vocabulary: Vocabulary, scratch: Path
) -> tuple[NDArray[np.int32], NDArray[np.int64], tuple[str, ...]]:
    """Ids [texts, context], classes [texts] and their names, as `site` sees `data.source`.

    A text is its begin mark and its first tokens; what is left of `context` is filled with end marks.

    Raises:
        UserError: the source is not there, or has no such columns.
    """
    if not is_address(data.source):
        raise UserError(f"data.source {data.source!r} is unknown; give the address of {' '.join(ROWS)} files")
    address = site_address(data.source, site)
    rows = read_rows(fetch(address, ROWS, scratch / "files"), scratch / "cache")
    for key, column in (("text", data.text), ("label", data.label)):
        if column not in rows.column_names:
            raise UserError(f"{address}: no column {column!r}; data.{key} can be {', '.join(rows.column_names[:12])}")
    texts = rows[data.text]
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise UserError(
                f"{address}: row {number} has {text!r:.40} for {data.text!r}, which is no text; mend the row"
            )
    labels, classes = number_classes([str(value) for value in rows[data.label]], data.classes, data.source)
    ids = np.full((len(texts), data.context), vocabulary.padding, dtype=np.int32)
    for row, tokens in zip(ids, vocabulary.encode_all(list(texts)), strict=True):
        kept = tokens[: data.context]
        row[: len(kept)] = kept
    return ids, labels, classes
