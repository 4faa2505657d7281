"""Text from a causal language model, one token at a time."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workloads.trainer.tokenizer import TOKENIZER_CONFIG

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from workloads.inference.served_model import ServedModel

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: the likeliest one at temperature 0, else from the nucleus of mass `top_p`."""

    temperature: float
    top_p: float
    seed: int | None


@dataclass(frozen=True)
class Marks:
    """Tokens that a tokenizer adds to text; None for one that it does not know."""

    begin: int | None
    end: int | None
    vocabulary: int  # tokens that it knows; a model's logits may be padded to more

    @classmethod
    def of(cls, tokenizer: "Tokenizer", folder: Path) -> "Marks":
        """Those of `tokenizer`, by the names in the `tokenizer_config.json` beside it."""
        path = folder / TOKENIZER_CONFIG
        names = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        begin, end = (_token_of(tokenizer, names.get(key)) for key in ("bos_token", "eos_token"))
        return cls(begin, end, tokenizer.get_vocab_size())


async def generate(
    model: "ServedModel", marks: Marks, prompt: Sequence[int], max_tokens: int, sampling: Sampling
) -> AsyncIterator[int]:
    """At most `max_tokens` tokens after `prompt`, ending early where the model ends the document."""
    source, reader = np.random.default_rng(sampling.seed), model.reader()
    unread = prompt
    for _ in range(max_tokens):
        token = draw(await model.read(reader, unread), marks, sampling, source)
        if token == marks.end:
            return
        yield token
        unread = [token]


def draw(logits: NDArray[np.float32], marks: Marks, sampling: Sampling, source: np.random.Generator) -> int:
    """One token by nucleus sampling (arXiv 1904.09751) from `logits` [vocabulary]; never one that begins a document."""
    scores = logits[: marks.vocabulary].astype(np.float64)
    if marks.begin is not None and marks.begin != marks.end:
        scores[marks.begin] = -np.inf
    if sampling.temperature == 0:
        return int(scores.argmax())
    scores = (scores - scores.max()) / sampling.temperature
    chances = np.exp(scores)
    chances /= chances.sum()
    order = np.argsort(-chances, kind="stable")
    mass_before = np.cumsum(chances[order]) - chances[order]
    nucleus = order[mass_before < sampling.top_p]
    return int(source.choice(nucleus, p=chances[nucleus] / chances[nucleus].sum()))


def _token_of(tokenizer: "Tokenizer", name: Any) -> int | None:
    """The token called `name`, which `transformers` writes as text or as a mapping with its `content`."""
    text = name.get("content") if isinstance(name, dict) else name
    return tokenizer.token_to_id(text) if isinstance(text, str) else None


class TextStream:
    """Tokens in, text out as soon as no later token can change it.

    A character whose bytes are spread over tokens is held back until it is whole, and text that may turn out to begin a
    stop sequence is held back until that is known. Stop sequences themselves are never given out.
    """

    def __init__(self, tokenizer: "Tokenizer", stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._tokens: list[int] = []
        self._given = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that became certain by `token`; `stopped` says whether a stop sequence ended it."""
        self._tokens.append(token)
        text = self._text()
        certain = text.removesuffix(INCOMPLETE)
        ends = [place for place in map(certain.find, self._stop) if place >= 0]
        if ends:
            self.stopped = True
            return self._give(certain, min(ends))
        return self._give(certain, len(certain) - self._possible_stop(certain))

    def rest(self) -> str:
        """What was held back, once no token follows."""
        text = self._text()
        return "" if self.stopped else self._give(text, len(text))

    def _text(self) -> str:
        return self._tokenizer.decode(self._tokens)

    def _give(self, text: str, end: int) -> str:
        piece = text[self._given : end]
        self._given = max(self._given, end)
        return piece

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop sequence."""
        return max(
            (size for stop in self._stop for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0
        )
