"""What a text recipe's tokens are: bytes, or those of a `tokenizer.json` that lies in a folder or at an address."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.spec.errors import UserError
from workloads.trainer.shard_files import BYTE_SIZES
from workloads.trainer.sources import fetch
from workloads.trainer.tokenizer import BEGIN, BYTES, END, TOKENIZER, TOKENIZER_CONFIG, byte_tokenizer

_SPACE = "\u2581"  # SentencePiece's sign for a space
_BYTE_LENGTH = len("<0x0A>")  # a byte that no other token has, as SentencePiece names it


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of a text recipe. `begin` and `end` are None where the tokenizer has no such mark."""

    tokenizer: Any
    begin: int | None
    end: int | None
    sizes: NDArray[np.int64]  # bytes of text that each token stands for; 0 of marks

    @property
    def padding(self) -> int:
        """The token that fills up a text: the end mark, else token 0."""
        return self.end if self.end is not None else 0

    def encode_all(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Ids of each text, its begin mark first. Names of marks in a text are text."""
        first = [] if self.begin is None else [self.begin]
        for encoded in self.tokenizer.encode_batch(list(texts), add_special_tokens=False):
            yield first + encoded.ids


def open_vocabulary(tokenizer: str, folder: Path, scratch: Path) -> Vocabulary:
    """`bytes`, or the tokenizer at the address `tokenizer`, whose files are copied to `folder`, by way of `scratch`.

    Raises:
        UserError: there is no tokenizer, or it cannot be read.
    """
    if tokenizer == BYTES:
        own = byte_tokenizer()
        own.encode_special_tokens = True
        return Vocabulary(own, BEGIN, END, BYTE_SIZES)
    found = dict(fetch(tokenizer, (TOKENIZER, TOKENIZER_CONFIG), scratch / "tokenizer"))
    if TOKENIZER not in found:
        raise UserError(
            f"{tokenizer}: no {TOKENIZER} is there; save one with `tokenizers`, or set data.tokenizer: bytes"
        )
    for name in (TOKENIZER, TOKENIZER_CONFIG):
        if name in found:
            (folder / name).write_bytes(found[name].read_bytes())
    return read_vocabulary(folder)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The tokenizer whose files lie in `folder`. Raises `UserError` if they cannot be read."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - text recipes only

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        config = folder / TOKENIZER_CONFIG
        names = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    except Exception as error:  # noqa: BLE001 - the library raises nothing more precise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder / TOKENIZER}: not a tokenizer that can be read ({reason}); save it again") from None
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    begin, end = (_mark(tokenizer, names.get(key)) for key in ("bos_token", "eos_token"))
    return Vocabulary(tokenizer, begin, end, _sizes(tokenizer))


def _mark(tokenizer: Any, name: Any) -> int | None:
    text = name.get("content") if isinstance(name, dict) else name
    return tokenizer.token_to_id(text) if isinstance(text, str) else None


def _sizes(tokenizer: Any) -> NDArray[np.int64]:
    """Bytes of each token. In byte-level vocabularies a token has a character for each of its bytes."""
    settings = json.loads(tokenizer.to_str())
    is_byte_level = '"ByteLevel"' in json.dumps([settings.get("pre_tokenizer"), settings.get("decoder")])
    marks = {token["id"] for token in settings.get("added_tokens", []) if token.get("special")}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    sizes = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, number in vocabulary.items():
        if number not in marks:
            sizes[number] = len(token) if is_byte_level else _spelt_size(token)
    return sizes


def _spelt_size(token: str) -> int:
    if len(token) == _BYTE_LENGTH and token.startswith("<0x") and token.endswith(">"):
        return 1
    return len(token.replace(_SPACE, " ").encode())
