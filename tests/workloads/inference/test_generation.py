import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from workloads.inference.completions import load_tokenizer
from workloads.inference.generation import Marks, Sampling, TextStream, draw, generate
from workloads.trainer.tokenizer import BEGIN, END, VOCABULARY, byte_tokenizer, save_tokenizer

TOKENIZER = byte_tokenizer()


def stream(tokens: list[int], stop: list[str]) -> tuple[list[str], bool]:
    text = TextStream(TOKENIZER, stop)
    pieces = []
    for token in tokens:
        pieces.append(text.push(token))
        if text.stopped:
            break
    return [*pieces, text.rest()], text.stopped


@given(st.binary(max_size=40))
def test_any_bytes_stream_to_the_text_that_they_decode_to(content: bytes) -> None:
    pieces, _ = stream(list(content), [])

    assert "".join(pieces) == TOKENIZER.decode(list(content))


@given(st.text(max_size=20))
def test_no_piece_of_valid_text_holds_half_a_character(text: str) -> None:
    pieces, _ = stream(list(text.encode()), [])

    assert "".join(pieces) == text
    assert all(len(piece) <= 1 for piece in pieces)


@given(st.text(alphabet="abé", max_size=30), st.lists(st.text(alphabet="abé", min_size=1, max_size=3), max_size=3))
def test_text_ends_before_the_first_stop_sequence(text: str, stop: list[str]) -> None:
    pieces, stopped = stream(list(text.encode()), stop)

    # The sequence that is complete first ends the text; of several that end there, the one that began first.
    ends = [text.find(sequence) + len(sequence) for sequence in stop if sequence in text]
    cut = min((text.find(s) for s in stop if s in text and text.find(s) + len(s) == min(ends)), default=len(text))
    assert "".join(pieces) == text[:cut]
    assert stopped == bool(ends)


def test_a_tokenizer_comes_from_the_models_folder(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, context=8)

    assert load_tokenizer(tmp_path).encode("é").ids == [BEGIN, 0xC3, 0xA9]


LOGITS = np.zeros(VOCABULARY, dtype=np.float32)
UNKNOWN = "a"
MARKS = Marks(BEGIN, END, VOCABULARY)
LOGITS[[10, 20, 30, BEGIN]] = [6.0, 5.0, 4.0, 50.0]


def drawn(temperature: float, top_p: float) -> set[int]:
    source = np.random.default_rng(0)
    return {draw(LOGITS, MARKS, Sampling(temperature, top_p, None), source) for _ in range(300)}


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [(0, 1.0, {10}), (1e-9, 1.0, {10}), (1.0, 1e-9, {10}), (0.5, 0.99, {10, 20, 30})],
)
def test_sampling_follows_temperature_and_nucleus(temperature: float, top_p: float, expected: set[int]) -> None:
    assert drawn(temperature, top_p) == expected


def test_a_document_never_begins_within_another() -> None:
    assert BEGIN not in drawn(2.0, 1.0)


def test_marks_are_those_of_the_models_own_tokenizer(tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"a": 0, "<s>": 1, "</s>": 2}, unk_token=UNKNOWN))
    words.add_special_tokens(["<s>", "</s>"])
    words.save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))

    tokenizer = load_tokenizer(tmp_path)

    assert Marks.of(tokenizer, tmp_path) == Marks(begin=1, end=2, vocabulary=3)
    assert tokenizer.encode("a</s>").ids == [0]  # one word that nobody knows, not a word and a mark


def test_a_tokenizer_without_marks_has_none(tmp_path: Path) -> None:
    Tokenizer(WordLevel({"a": 0}, unk_token=UNKNOWN)).save(str(tmp_path / "tokenizer.json"))

    marks = Marks.of(load_tokenizer(tmp_path), tmp_path)

    assert marks == Marks(begin=None, end=None, vocabulary=1)
    padded = np.array([0.0, 9.0], dtype=np.float32)
    assert draw(padded, marks, Sampling(0, 1.0, None), np.random.default_rng(0)) == 0


def test_tokens_are_read_once_each() -> None:
    """Of ten tokens after a prompt of three, each but the last is read, one at a time."""
    read: list[list[int]] = []

    class Echo:
        def reader(self) -> None:
            return None

        async def read(self, _reader: None, tokens: list[int]) -> np.ndarray:
            read.append(list(tokens))
            return LOGITS

    async def tokens() -> list[int]:
        return [token async for token in generate(Echo(), MARKS, [1, 2, 3], 10, Sampling(0, 1.0, None))]

    assert asyncio.run(tokens()) == [10] * 10
    assert read == [[1, 2, 3]] + [[10]] * 9
