"""Passwords, keys and certificates: drawn once, hidden, and made anew for a reason."""

import asyncio
import datetime as dt
import string

import pytest
from cryptography import x509

from infra.local.handler import Context
from infra.local.handlers.certificates import CertificateAuthorityHandler, IssuedCertificateHandler
from infra.local.handlers.keys import DrawnSecretHandler, SigningKeyHandler
from workloads.registry.signing import sign, verify_signature
from workloads.spec.errors import UserError

SECRET, SIGNER = DrawnSecretHandler(), SigningKeyHandler()
AUTHORITY, ISSUED = CertificateAuthorityHandler(), IssuedCertificateHandler()
ALL = (SECRET, SIGNER, AUTHORITY, ISSUED)


class Log:
    """A context that keeps what is said."""

    def __init__(self):
        self.lines = []
        self.context = Context("urn", self.lines.append, self.lines.append)


def made(handler, log=None, **inputs):
    """Inputs and outputs, as the state keeps them."""
    context = (log or Log()).context
    return {**inputs, **asyncio.run(handler.create(handler.parse(inputs), context))}


def updated(handler, state, **inputs):
    return {**inputs, **asyncio.run(handler.update(handler.parse(inputs), state, Log().context))}


@pytest.fixture(scope="module")
def authority():
    return made(AUTHORITY, common_name="nodes of os-1")


@pytest.fixture
def holder(authority):
    return {"common_name": "node-1", "ca_pem": authority["ca_pem"], "ca_key_pem": authority["ca_key_pem"]}


def loaded(pem):
    return x509.load_pem_x509_certificate(pem.encode())


def test_a_secret_is_of_its_length_and_alphabet_and_never_the_same():
    alphabet = string.ascii_letters + "123456789._"
    values = {made(SECRET, length=40, alphabet=alphabet)["value"] for _ in range(20)}
    assert len(values) == 20
    assert all(len(value) == 40 and set(value) <= set(alphabet) for value in values)
    assert made(SECRET)["value"].isalnum()


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"length": 10}, "60 bits can be guessed, 96 cannot; set length to 17 or more"),
        ({"alphabet": "01", "length": 32}, "32 bits can be guessed, 96 cannot; set length to 96 or more"),
        ({"alphabet": "aab"}, "repeat"),
    ],
)
def test_a_secret_that_can_be_guessed_is_refused_before_it_is_drawn(inputs, reason):
    assert any(reason in why for _, why in SECRET.faults(inputs))


def test_a_signing_key_signs_models(tmp_path):
    state = made(SIGNER)
    for name in ("private", "public"):
        (tmp_path / f"{name}.pem").write_text(state[f"{name}_pem"])
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("w")
    sign(model, tmp_path / "private.pem")
    verify_signature(model, tmp_path / "public.pem")
    (model / "weights").write_text("other")
    with pytest.raises(UserError, match="does not match its signature"):
        verify_signature(model, tmp_path / "public.pem")


@pytest.mark.parametrize(("handler", "drawn"), [(SECRET, "value"), (SIGNER, "private_pem")])
def test_another_generation_is_another_one_and_the_same_stays(handler, drawn):
    state = made(handler, generation=1)
    assert not handler.difference(state, {"generation": 1}).changed
    assert handler.difference(state, {"generation": 2}).replace == ("generation",)
    assert updated(handler, {**state, "status": "odd"}, generation=1)[drawn] == state[drawn]


def test_other_characters_are_another_secret():
    state = made(SECRET, length=32)
    assert SECRET.difference(state, {"length": 40}).replace == ("length",)


@pytest.mark.parametrize("handler", [SECRET, SIGNER])
def test_what_the_state_lost_is_gone(handler):
    state = made(handler)
    assert asyncio.run(handler.read(handler.parse(state), state)) == {"status": "ok"}
    assert asyncio.run(handler.read(handler.parse(state), {**state, handler.drawn[0]: None})) is None


def test_an_authority_fulfils_what_a_trust_anchor_must(authority):
    certificate = loaded(authority["ca_pem"])
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert certificate.signature_hash_algorithm.name == "sha256"


def test_a_holder_is_named_and_vouched_for(authority, holder):
    certificate = loaded(made(ISSUED, dns_names=["node-1.os-1"], **holder)["certificate_pem"])
    certificate.verify_directly_issued_by(loaded(authority["ca_pem"]))
    assert certificate.subject.rfc4514_string() == "CN=node-1"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node-1.os-1"]


def test_a_holder_ends_no_later_than_its_authority():
    short = made(AUTHORITY, common_name="short", days=2)
    state = made(ISSUED, common_name="n", days=365, ca_pem=short["ca_pem"], ca_key_pem=short["ca_key_pem"])
    assert state["expires"] == short["expires"]


def test_certificates_near_their_end_are_made_anew(authority, holder):
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).isoformat()
    state = made(ISSUED, **holder)
    assert not ISSUED.difference(state, holder).changed
    assert ISSUED.difference({**state, "renew": past}, holder).replace == ("renew",)
    wanted = {"common_name": "nodes of os-1"}
    assert not AUTHORITY.difference(authority, wanted).changed
    assert AUTHORITY.difference({**authority, "renew": past}, wanted).changed == ("renew",)
    assert AUTHORITY.difference({**authority, "renew": past}, wanted).replace == ()


def test_a_renewed_authority_has_the_same_key_and_disturbs_no_holder(authority, holder):
    state = made(ISSUED, **holder)
    renewed = updated(AUTHORITY, authority, common_name="nodes of os-1", days=4000)
    assert renewed["ca_key_pem"] == authority["ca_key_pem"]
    assert renewed["ca_pem"] != authority["ca_pem"]
    loaded(state["certificate_pem"]).verify_directly_issued_by(loaded(renewed["ca_pem"]))
    assert not ISSUED.difference(state, {**holder, "ca_pem": renewed["ca_pem"]}).changed


def test_another_authority_is_another_identity(holder):
    other = made(AUTHORITY, common_name="nodes of os-1")
    wanted = {**holder, "ca_pem": other["ca_pem"], "ca_key_pem": other["ca_key_pem"]}
    assert ISSUED.difference(made(ISSUED, **holder), wanted).replace == ("ca_key_pem",)


def test_an_authority_whose_parts_do_not_fit_is_refused_without_showing_them(holder):
    other = made(AUTHORITY, common_name="other")
    for key, reason in ((other["ca_key_pem"], "does not belong"), ("geheim", "is no PEM text")):
        with pytest.raises(UserError, match=f"certificate of node-1: .*{reason}") as refused:
            made(ISSUED, **{**holder, "ca_key_pem": key})
        assert key not in str(refused.value)


@pytest.mark.parametrize("handler", ALL, ids=lambda handler: handler.pulumi_type)
def test_what_is_secret_is_marked_so(handler, authority, holder):
    inputs = {AUTHORITY: {"common_name": "a"}, ISSUED: holder}.get(handler, {})
    private = {name for name in made(handler, **inputs) if "private" in name or "key" in name or name == "value"}
    assert private <= handler.secret
    assert handler.secret


@pytest.mark.parametrize("handler", ALL, ids=lambda handler: handler.pulumi_type)
def test_nothing_secret_is_said(handler, holder):
    log = Log()
    state = made(handler, log, **({AUTHORITY: {"common_name": "a"}, ISSUED: holder}.get(handler, {})))
    for name in handler.secret:
        assert all(state[name] not in line for line in log.lines)


def test_a_fault_in_secret_inputs_is_told_without_their_values(holder):
    with pytest.raises(UserError, match="IssuedCertificate: ca_pem: Field required") as refused:
        ISSUED.parse({"common_name": "node-1", "ca_key_pem": holder["ca_key_pem"]})
    assert "PRIVATE KEY" not in str(refused.value)
