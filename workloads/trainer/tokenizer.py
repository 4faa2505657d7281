"""The byte-level tokenizer: a token is a byte, and two more mark where a document begins and ends.

The marks cannot be written in text. Text that spells out a mark's name is read as the bytes that it is, so no document
and no request can end or begin a document for the model, and any text comes back unchanged.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTES = "bytes"  # its name in recipes
BEGIN = 256
END = 257
VOCABULARY = 258
BEGIN_NAME = "<|begin|>"
END_NAME = "<|end|>"

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"


def byte_tokenizer() -> "Tokenizer":
    """A tokenizer whose ids are `BEGIN` and then the UTF-8 bytes of the text. Decoding leaves the marks out."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors  # noqa: PLC0415 - text recipes only

    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    vocabulary |= {BEGIN_NAME: BEGIN, END_NAME: END}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_NAME} $A", special_tokens=[(BEGIN_NAME, BEGIN)]
    )
    # A byte's token is one character, so these patterns can match the marks alone.
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BEGIN_NAME, ""), decoders.Replace(END_NAME, ""), decoders.ByteLevel()]
    )
    return tokenizer


def save_tokenizer(folder: Path, context: int) -> None:
    """Write `tokenizer.json` and, for `transformers`, `tokenizer_config.json` for models of `context` tokens."""
    byte_tokenizer().save(str(folder / TOKENIZER))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_NAME,
        "eos_token": END_NAME,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # the marks' names in text stay text
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _byte_characters() -> list[str]:
    """The character that stands for each byte in byte-level vocabularies, as in GPT-2's table.

    It is the byte's own if that is printable Latin-1, else the next one from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    substitutes = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(substitutes)) for byte in range(256)]
