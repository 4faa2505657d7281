"""Kinds of data. A `source` is a name that comes with the product, or an address that `fsspec` reads, seen from the site.

`{site}` in an address stands for the site's name: each site then reads what lies with it, and no other site could. As no
site sees another's classes, such an address needs `classes`, so that the same number means the same class everywhere.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from workloads.spec.base import Frozen

Classes = Annotated[tuple[str, ...], Field(min_length=2)]  # names in the logits' order; None: those found, sorted
HeldOut = Annotated[float, Field(gt=0.0, lt=1.0)]  # share of the data that is never trained on


class TableData(Frozen):
    """A labelled table: `iris`, `credit-cards`, or the address of CSV or Parquet files with a column `target`.

    `held_out` of it, stratified, is never trained on; the rest is dealt in `subsets` stratified parts.
    """

    kind: Literal["table"]
    source: str
    target: str | None = None  # column of the classes, for an address
    classes: Classes | None = None
    subsets: PositiveInt
    held_out: HeldOut
    seed: int = 0


class TextData(Frozen):
    """Text in windows of `context` tokens: `python-stdlib`, or the address of a folder of text or JSON-lines files.

    Whole packages, or files, go to one site or to its held-out part. `tokenizer` is `bytes`, or the address of a folder
    with a `tokenizer.json`.
    """

    kind: Literal["text"]
    source: str
    tokenizer: str = "bytes"
    context: PositiveInt
    held_out: HeldOut
    max_bytes_per_site: PositiveInt
    seed: int = 0


class LabelledTextData(Frozen):
    """Texts with a class each: the address of CSV, JSON-lines or Parquet files with columns `text` and `label`."""

    kind: Literal["labelled-text"]
    source: str
    text: str = "text"
    label: str = "label"
    classes: Classes | None = None
    tokenizer: str = "bytes"
    context: PositiveInt
    held_out: HeldOut
    seed: int = 0


class ImageData(Frozen):
    """Pictures with a class each: `digits` (scikit-learn's), or the address of a folder with one folder a class."""

    kind: Literal["images"]
    source: str
    size: PositiveInt  # pixels a side
    channels: Literal[1, 3]
    classes: Classes | None = None
    held_out: HeldOut
    seed: int = 0


class AudioData(Frozen):
    """Recordings with a class each.

    The source is `spoken-digits` (synthesised on this machine, a stand-in for recordings), or the address of a folder
    with one folder of WAV or FLAC files a class.
    """

    kind: Literal["audio"]
    source: str
    rate_hz: PositiveInt = 8000
    seconds: PositiveFloat = 1.0  # a recording is cut or padded to this length
    classes: Classes | None = None
    held_out: HeldOut
    seed: int = 0


Data = Annotated[TableData | TextData | LabelledTextData | ImageData | AudioData, Field(discriminator="kind")]
