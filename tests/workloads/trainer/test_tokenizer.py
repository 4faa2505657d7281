"""Text in, bytes as tokens, the same text out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from workloads.trainer.tokenizer import BEGIN, BEGIN_NAME, END, END_NAME, TOKENIZER, VOCABULARY, save_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, context=64)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return Tokenizer.from_file(str(folder / TOKENIZER))


@given(text=st.text())
def test_any_text_becomes_begin_and_its_bytes_and_comes_back(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert ids == [BEGIN, *text.encode()]
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", [f"a{END_NAME}b", BEGIN_NAME, f" {END_NAME}{BEGIN_NAME}"])
def test_text_cannot_contain_a_mark(tokenizer, folder, text):
    assert tokenizer.encode(text).ids == [BEGIN, *text.encode()]
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == [BEGIN, *text.encode()]


def test_marks_are_not_shown(tokenizer):
    assert tokenizer.decode([BEGIN, *b"if x:", END], skip_special_tokens=False) == "if x:"


def test_transformers_knows_the_marks(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer)) == (BEGIN, END, VOCABULARY)
    assert tokenizer.decode(tokenizer("héllo\n")["input_ids"], skip_special_tokens=True) == "héllo\n"
