"""A certificate authority in memory, for real mutual TLS between processes of a test."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from workloads.spec.base import Credentials

_DAY = dt.timedelta(days=1)


class Authority:
    """Issues identities whose DNS name is the site's, as the platform does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._certificate(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        self._ca = folder / "ca.pem"
        self._ca.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(self, site: str, *, address: str | None = None) -> Credentials:
        """An identity, with an `address` for clients that know a server by that alone."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
        names: list[x509.GeneralName] = [x509.DNSName(site)]
        if address:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        certificate = self._certificate(subject, key.public_key()).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        credentials = Credentials(
            ca=self._ca, certificate=self._folder / f"{site}.pem", key=self._folder / f"{site}.key"
        )
        signed = certificate.sign(self._key, hashes.SHA256())
        credentials.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        credentials.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return credentials

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
        )
