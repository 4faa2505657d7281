from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.inference.completions import load_tokenizer
from workloads.inference.generation import Sampling, TextStream, draw
from workloads.trainer.tokenizer import BEGIN, VOCABULARY, byte_tokenizer, save_tokenizer

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
LOGITS[[10, 20, 30, BEGIN]] = [6.0, 5.0, 4.0, 50.0]


def drawn(temperature: float, top_p: float) -> set[int]:
    source = np.random.default_rng(0)
    return {draw(LOGITS, Sampling(temperature, top_p, None), source) for _ in range(300)}


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [(0, 1.0, {10}), (1e-9, 1.0, {10}), (1.0, 1e-9, {10}), (0.5, 0.99, {10, 20, 30})],
)
def test_sampling_follows_temperature_and_nucleus(temperature: float, top_p: float, expected: set[int]) -> None:
    assert drawn(temperature, top_p) == expected


def test_a_document_never_begins_within_another() -> None:
    assert BEGIN not in drawn(2.0, 1.0)
