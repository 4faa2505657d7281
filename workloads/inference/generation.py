"""Text from a causal language model, one token at a time.

Each token is computed from the whole prefix again. For contexts of a few hundred tokens that costs less than moving a
cache of keys and values through the graph; a long-context model needs the cache.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from workloads.trainer.tokenizer import BEGIN, END, VOCABULARY

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


async def generate(
    model: "ServedModel", prompt: Sequence[int], max_tokens: int, sampling: Sampling
) -> AsyncIterator[int]:
    """At most `max_tokens` tokens after `prompt`, ending early where the model ends the document."""
    source = np.random.default_rng(sampling.seed)
    tokens = list(prompt)
    for _ in range(max_tokens):
        logits = await model.logits(np.array([tokens], dtype=np.int64))
        token = draw(logits[0, -1], sampling, source)
        if token == END:
            return
        yield token
        tokens.append(token)


def draw(logits: NDArray[np.float32], sampling: Sampling, source: np.random.Generator) -> int:
    """One token by nucleus sampling (arXiv 1904.09751) from `logits` [vocabulary]; never one that begins a document."""
    scores = logits[:VOCABULARY].astype(np.float64)
    scores[BEGIN] = -np.inf
    if sampling.temperature == 0:
        return int(scores.argmax())
    scores = (scores - scores.max()) / sampling.temperature
    chances = np.exp(scores)
    chances /= chances.sum()
    order = np.argsort(-chances, kind="stable")
    mass_before = np.cumsum(chances[order]) - chances[order]
    nucleus = order[mass_before < sampling.top_p]
    return int(source.choice(nucleus, p=chances[nucleus] / chances[nucleus].sum()))


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
