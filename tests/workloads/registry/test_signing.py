from pathlib import Path

import pytest

from tests.kit.artefacts import SigningKeys, make_signing_keys, make_table_model
from workloads.inference.session import GRAPH
from workloads.registry.signing import sign, verify_signature
from workloads.spec.artifact import SIGNATURE
from workloads.spec.errors import UserError
from workloads.spec.recipe import load_recipe


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return make_signing_keys(tmp_path / "keys")


@pytest.fixture
def model(tmp_path: Path, keys: SigningKeys) -> Path:
    make_table_model(tmp_path / "model", load_recipe("iris"))
    sign(tmp_path / "model", keys.private)
    return tmp_path / "model"


def test_a_signed_model_verifies(model: Path, keys: SigningKeys) -> None:
    verify_signature(model, keys.public)


def change(model: Path) -> None:
    graph = model / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")


def take_away(model: Path) -> None:
    (model / GRAPH).unlink()


def add(model: Path) -> None:
    (model / "extra.bin").write_bytes(b"")


@pytest.mark.parametrize(("tamper", "named"), [(change, GRAPH), (take_away, GRAPH), (add, "extra.bin")])
def test_any_tampered_file_is_refused_by_name(model: Path, keys: SigningKeys, tamper, named: str) -> None:
    tamper(model)

    with pytest.raises(UserError, match=named):
        verify_signature(model, keys.public)


def test_a_signature_of_another_key_is_refused(model: Path, tmp_path: Path) -> None:
    stranger = make_signing_keys(tmp_path / "stranger")

    with pytest.raises(UserError, match="does not match its signature"):
        verify_signature(model, stranger.public)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"dsseEnvelope": {"payload": "AAAA"}}'])
def test_a_torn_signature_is_refused(model: Path, keys: SigningKeys, content: bytes) -> None:
    (model / SIGNATURE).write_bytes(content)

    with pytest.raises(UserError, match="does not match its signature"):
        verify_signature(model, keys.public)


def test_a_forged_signature_is_refused(model: Path, keys: SigningKeys) -> None:
    text = (model / SIGNATURE).read_text(encoding="utf-8")
    start = text.index('"sig"') + 20
    (model / SIGNATURE).write_text(text[:start] + ("A" if text[start] != "A" else "B") + text[start + 1 :])

    with pytest.raises(UserError, match=SIGNATURE):
        verify_signature(model, keys.public)


def test_an_unsigned_model_is_refused(model: Path, keys: SigningKeys) -> None:
    (model / SIGNATURE).unlink()

    with pytest.raises(UserError, match=SIGNATURE):
        verify_signature(model, keys.public)


def test_signing_again_keeps_a_valid_signature_and_replaces_a_stale_one(model: Path, keys: SigningKeys) -> None:
    first = (model / SIGNATURE).read_bytes()
    sign(model, keys.private)
    assert (model / SIGNATURE).read_bytes() == first

    change(model)
    sign(model, keys.private)
    verify_signature(model, keys.public)


def test_a_key_that_is_not_one_is_a_clear_error(model: Path, keys: SigningKeys, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an EC private key"):
        sign(model, keys.public)
    with pytest.raises(UserError, match="not an EC public key"):
        verify_signature(model, tmp_path / "absent.pub")
