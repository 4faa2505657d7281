"""Identities: one a site, private to its owner, the same again after a loss."""

import asyncio
import ssl
import stat

import pytest
from cryptography import x509

from infra.local.handler import Context
from infra.local.handlers.authority import CA, AuthorityHandler, AuthorityInputs

CONTEXT = Context("urn", lambda _: None, lambda _: None)
HANDLER = AuthorityHandler()


@pytest.fixture
def made(tmp_path):
    inputs = AuthorityInputs(folder=tmp_path / "pki", sites=("aws-1", "os-1"))
    state = asyncio.run(HANDLER.create(inputs, CONTEXT))
    return inputs, {**inputs.model_dump(mode="json"), **state}


def status(inputs, state):
    answer = asyncio.run(HANDLER.read(inputs, state))
    return answer["status"]


def test_keys_are_readable_by_their_owner_alone(made):
    inputs, state = made
    assert set(state["private_files"]) == {"aws-1/key.pem", "os-1/key.pem", "signer/key.pem"}
    for name in state["private_files"]:
        assert stat.S_IMODE((inputs.folder / name).stat().st_mode) == 0o600


def test_private_keys_are_secret_outputs():
    assert HANDLER.secret == {"private_files"}


def test_each_certificate_names_its_site_and_chains_to_the_authority(made):
    inputs, state = made
    authority = x509.load_pem_x509_certificate((inputs.folder / CA).read_bytes())
    for site in inputs.sites:
        leaf = x509.load_pem_x509_certificate((inputs.folder / site / "cert.pem").read_bytes())
        leaf.verify_directly_issued_by(authority)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [site]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(inputs.folder / site / "cert.pem", inputs.folder / site / "key.pem")
    assert state["status"] == "ok"


def test_a_lost_key_is_seen_and_written_again_as_it_was(made):
    inputs, state = made
    key = inputs.folder / "os-1" / "key.pem"
    before = key.read_text()
    key.unlink()
    assert "os-1/key.pem" in status(inputs, state)
    asyncio.run(HANDLER.update(inputs, state, CONTEXT))
    assert key.read_text() == before
    assert status(inputs, state) == "ok"


def test_a_key_that_others_can_read_is_seen(made):
    inputs, state = made
    (inputs.folder / "aws-1" / "key.pem").chmod(0o644)
    assert "can be read by others" in status(inputs, state)
    asyncio.run(HANDLER.update(inputs, state, CONTEXT))
    assert status(inputs, state) == "ok"


def test_identities_near_their_end_are_drawn_anew(made):
    inputs, state = made
    assert asyncio.run(HANDLER.read(inputs, {**state, "expires": "2020-01-01T00:00:00+00:00"})) is None


def test_another_set_of_sites_gets_another_authority(made):
    inputs, state = made
    wider = AuthorityInputs(folder=inputs.folder, sites=("aws-1", "os-1", "os-2"))
    answer = asyncio.run(HANDLER.update(wider, state, CONTEXT))
    assert answer["fingerprint"] != state["fingerprint"]
    assert (inputs.folder / "os-2" / "key.pem").is_file()


def test_nothing_is_left_after_delete(made):
    inputs, state = made
    asyncio.run(HANDLER.delete(inputs, state))
    assert not inputs.folder.exists()
