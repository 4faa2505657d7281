"""X.509 as the platform's own authorities issue it: P-256 keys, SHA-256 signatures, one name a certificate. Pure."""

import datetime as dt
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLOCK_SKEW = dt.timedelta(minutes=5)
"""How far behind the clock of whoever checks a fresh certificate may be."""


def draw_key() -> ec.EllipticCurvePrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def authority_certificate(
    name: str, key: ec.EllipticCurvePrivateKey, start: dt.datetime, expires: dt.datetime
) -> x509.Certificate:
    """A root that signs certificates of holders and no further authority."""
    subject = _common_name(name)
    return (
        _builder(subject, subject, key.public_key(), start, expires)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def issued_certificate(
    name: str,
    dns_names: Sequence[str],
    key: ec.EllipticCurvePublicKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    expires: dt.datetime,
) -> x509.Certificate:
    """A certificate of a holder, as server and as client, that ends no later than its authority's."""
    authority, authority_key = issuer
    start = max(dt.datetime.now(dt.UTC) - CLOCK_SKEW, authority.not_valid_before_utc)
    builder = (
        _builder(_common_name(name), authority.subject, key, start, min(expires, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if dns_names:
        names = x509.SubjectAlternativeName([x509.DNSName(dns_name) for dns_name in dns_names])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """PKCS #8, not encrypted: it is kept where everything is."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def load_issuer(ca_pem: str, ca_key_pem: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority from its PEM texts.

    Raises:
        ValueError: one cannot be read, is of another kind, or they do not belong together. Names neither's content.
    """
    try:
        certificate = x509.load_pem_x509_certificate(ca_pem.encode())
    except ValueError:
        raise ValueError("the authority's certificate is no PEM text") from None
    key = load_key(ca_key_pem)
    if certificate.public_key() != key.public_key():
        raise ValueError("the authority's key does not belong to its certificate")
    return certificate, key


def load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """A private key from its PEM text. Raises `ValueError`, without the text, where it is none or of another kind."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("the private key is no PEM text") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the private key is not one of an elliptic curve")  # noqa: TRY004 - of a text, not of a type
    return key


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: dt.datetime, expires: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(expires)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
