"""`isthmus:keys:CertificateAuthority` and `isthmus:keys:IssuedCertificate`: identities of what stands outside a cloud.

An authority's certificate and those under it fulfil what IAM Roles Anywhere asks of a trust anchor and of its holders:
X.509v3, `CA: true` with the right to sign, SHA-256 or better; holders with digital signatures (IAM Roles Anywhere guide,
"Signature validation").
"""

import datetime as dt
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt, SecretStr, StringConstraints

from infra.local import certificates
from infra.local.handler import Context, Difference, State
from infra.local.handlers.keys import Drawn, DrawnT
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError

_RENEW_AFTER = 0.8  # of its life

CommonName = Annotated[str, StringConstraints(min_length=1, max_length=64)]  # 64: RFC 5280, ub-common-name


class Renewed(Drawn[DrawnT]):
    """A certificate, which an `up` near its end makes anew."""

    renewed_in_place: ClassVar[bool]

    def difference(self, state: State, wanted: State) -> Difference:
        """As of every resource; and an end that has come near differs from what is wanted."""
        found = super().difference(state, wanted)
        if "renew" not in state or dt.datetime.fromisoformat(state["renew"]) > dt.datetime.now(dt.UTC):
            return found
        replace = found.replace if self.renewed_in_place else (*found.replace, "renew")
        return Difference((*found.changed, "renew"), replace)


class AuthorityInputs(Frozen):
    """Another `generation` draws another key: nobody whom the old one vouched for is trusted any more."""

    common_name: CommonName
    days: Annotated[int, Field(ge=2, le=7300)] = 3650
    generation: PositiveInt = 1


class CertificateAuthorityHandler(Renewed[AuthorityInputs]):
    """A root whose key is kept, so that it can vouch for more later on. Near its end the same key gets a new certificate."""

    pulumi_type = "isthmus:keys:CertificateAuthority"
    inputs = AuthorityInputs
    replace_on = frozenset({"common_name", "generation"})
    secret = frozenset({"ca_key_pem"})
    drawn = ("ca_pem", "ca_key_pem", "expires", "renew")
    renewed_in_place = True  # with the same name and key, so that what it has signed stays good

    async def create(self, inputs: AuthorityInputs, context: Context) -> State:
        return _authority(inputs, certificates.private_pem(certificates.draw_key()), context)

    async def update(self, inputs: AuthorityInputs, state: State, context: Context) -> State:
        return _authority(inputs, state["ca_key_pem"], context)


class CertificateInputs(Frozen):
    """A holder's name and the authority that vouches for it. Another `generation` draws another key."""

    common_name: CommonName
    ca_pem: str
    ca_key_pem: SecretStr
    dns_names: tuple[str, ...] = ()
    days: Annotated[int, Field(ge=2, le=3650)] = 365
    generation: PositiveInt = 1


class IssuedCertificateHandler(Renewed[CertificateInputs]):
    """One holder's certificate and key. It ends no later than its authority."""

    pulumi_type = "isthmus:keys:IssuedCertificate"
    inputs = CertificateInputs
    replace_on = frozenset({"common_name", "ca_key_pem", "dns_names", "days", "generation"})
    quiet_on = frozenset({"ca_pem"})  # an authority that is renewed keeps its key
    secret = frozenset({"ca_key_pem", "private_key_pem"})
    drawn = ("certificate_pem", "private_key_pem", "expires", "renew")
    renewed_in_place = False  # a preview shows what a new identity changes elsewhere

    async def create(self, inputs: CertificateInputs, context: Context) -> State:
        try:
            issuer = certificates.load_issuer(inputs.ca_pem, inputs.ca_key_pem.get_secret_value())
        except ValueError as error:
            raise UserError(f"certificate of {inputs.common_name}: {error}; take both from one authority") from None
        key = certificates.draw_key()
        start = dt.datetime.now(dt.UTC)
        certificate = certificates.issued_certificate(
            inputs.common_name, inputs.dns_names, key.public_key(), issuer, start + dt.timedelta(days=inputs.days)
        )
        context.note(
            f"issued a certificate to {inputs.common_name}, valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
        )
        return {
            "certificate_pem": certificates.certificate_pem(certificate),
            "private_key_pem": certificates.private_pem(key),
            **_ends(start, certificate.not_valid_after_utc),
        }


def _authority(inputs: AuthorityInputs, ca_key_pem: str, context: Context) -> State:
    key = certificates.load_key(ca_key_pem)
    start = dt.datetime.now(dt.UTC)
    certificate = certificates.authority_certificate(
        inputs.common_name, key, start - certificates.CLOCK_SKEW, start + dt.timedelta(days=inputs.days)
    )
    context.note(f"{inputs.common_name} vouches until {certificate.not_valid_after_utc:%Y-%m-%d}")
    return {
        "ca_pem": certificates.certificate_pem(certificate),
        "ca_key_pem": ca_key_pem,
        **_ends(start, certificate.not_valid_after_utc),
    }


def _ends(start: dt.datetime, expires: dt.datetime) -> State:
    renew = start + (expires - start) * _RENEW_AFTER
    return {"expires": expires.isoformat(), "renew": renew.isoformat(), "status": "ok"}
