"""`isthmus:local:SiteAuthority`: a certificate authority, one identity a site, and the key that signs models."""

import datetime as dt
import hashlib
import os
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local.handler import Context, Handler, State
from workloads.spec.base import Frozen, SiteName

_LIFETIME = dt.timedelta(days=365)
_RENEW_BEFORE = dt.timedelta(days=30)
_CLOCK_SKEW = dt.timedelta(minutes=5)
CA = "ca.pem"


class AuthorityInputs(Frozen):
    """`folder` receives `ca.pem`, `SITE/cert.pem`, `SITE/key.pem`, `signer/key.pem` and `signer/public.pem`."""

    folder: Path
    sites: tuple[SiteName, ...]


class AuthorityHandler(Handler[AuthorityInputs]):
    """Keys are drawn once and kept in Pulumi's encrypted state, so that a lost or changed file is written again as it was.

    The authority's own key signs and is then forgotten: nobody can add a site without a new authority.
    """

    pulumi_type = "isthmus:local:SiteAuthority"
    inputs = AuthorityInputs
    secret = frozenset({"private_files"})

    async def create(self, inputs: AuthorityInputs, context: Context) -> State:
        public, private, expires = _draw(inputs.sites)
        _write(inputs.folder, public, private)
        context.note(f"drew one identity each for {', '.join(inputs.sites)}, valid until {expires:%Y-%m-%d}")
        return {
            "public_files": public,
            "private_files": private,
            "expires": expires.isoformat(),
            "fingerprint": hashlib.sha256(public[CA].encode()).hexdigest(),
            "status": "ok",
        }

    async def read(self, inputs: AuthorityInputs, state: State) -> State | None:
        if dt.datetime.fromisoformat(state["expires"]) < dt.datetime.now(dt.UTC) + _RENEW_BEFORE:
            return None  # a new authority is drawn by the next up
        for name, text in {**state["public_files"], **state["private_files"]}.items():
            path = inputs.folder / name
            if not path.is_file() or path.read_text(encoding="ascii") != text:
                return {"status": f"{name} is missing or changed"}
            if name in state["private_files"] and path.stat().st_mode & 0o077:
                return {"status": f"{name} can be read by others"}
        return {"status": "ok"}

    async def update(self, inputs: AuthorityInputs, state: State, context: Context) -> State:
        if state["folder"] != str(inputs.folder):
            _remove(Path(state["folder"]))
        if tuple(state["sites"]) != inputs.sites:
            return await self.create(inputs, context)
        _write(inputs.folder, state["public_files"], state["private_files"])
        context.note("wrote keys and certificates again from the encrypted state")
        kept = ("public_files", "private_files", "expires", "fingerprint")
        return {**{key: state[key] for key in kept}, "status": "ok"}

    async def delete(self, inputs: AuthorityInputs, state: State) -> None:
        del state
        _remove(inputs.folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, public: dict[str, str], private: dict[str, str]) -> None:
    for name, text in {**public, **private}.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        mode = 0o600 if name in private else 0o644
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as file:
            file.write(text)
        scratch.replace(path)


def _draw(sites: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str], dt.datetime]:
    """Files by name, public and private, and when the certificates expire."""
    start = dt.datetime.now(dt.UTC) - _CLOCK_SKEW
    expires = start + _LIFETIME
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "isthmus site authority")])
    root = (
        _certificate(issuer, issuer, authority.public_key(), start, expires)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    public, private = {CA: _pem(root)}, {}
    for site in sites:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
        leaf = (
            _certificate(subject, issuer, key.public_key(), start, expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(site)]), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                critical=False,
            )
            .sign(authority, hashes.SHA256())
        )
        public[f"{site}/cert.pem"] = _pem(leaf)
        private[f"{site}/key.pem"] = _key_pem(key)
    signer = ec.generate_private_key(ec.SECP256R1())
    private["signer/key.pem"] = _key_pem(signer)
    public["signer/public.pem"] = (
        signer.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    return public, private, expires


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: dt.datetime,
    expires: dt.datetime,
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


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
