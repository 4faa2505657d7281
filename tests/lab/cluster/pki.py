"""Keys and certificates of one cluster, all of one authority. Made anew with every cluster."""

import base64
import datetime as dt
import json
import shutil
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.cluster.layout import API, Layout, url
from tests.lab.cluster.plan import Plan

_VALID = dt.timedelta(days=30)
_CLOCK_SKEW = dt.timedelta(minutes=5)
AUTHORITY, ACCOUNTS = "ca", "service-accounts"


@dataclass(frozen=True)
class Identity:
    """A certificate to be: its file's name, who it is to Kubernetes (user and group), and as what it can be addressed."""

    file: str
    user: str
    group: str | None = None
    addresses: tuple[IPv4Address, ...] = ()
    names: tuple[str, ...] = ()


def identities(plan: Plan) -> tuple[Identity, ...]:
    """All of a cluster's: https://kubernetes.io/docs/setup/best-practices/certificates/."""
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return (
        Identity("apiserver", "kube-apiserver", None, (API.ip, plan.services[1]), service),
        Identity("apiserver-to-kubelet", "kube-apiserver", "system:masters"),
        Identity("front-proxy", "front-proxy"),
        Identity("admin", "lab-admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        *(
            Identity(node.name, f"system:node:{node.name}", "system:nodes", (node.address.ip,), (node.name,))
            for node in plan.nodes
        ),
    )


def make(layout: Layout, plan: Plan) -> None:
    """Write them, and a kubeconfig for each that is a client, readable by root alone."""
    shutil.rmtree(layout.pki, ignore_errors=True)
    layout.pki.mkdir(mode=0o700, parents=True)
    authority = _Authority()
    _write(layout.pki, AUTHORITY, authority.key, authority.certificate)
    _private(layout.pki / f"{ACCOUNTS}.key", _pem(ec.generate_private_key(ec.SECP256R1())))
    for identity in identities(plan):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue(identity, key.public_key())
        _write(layout.pki, identity.file, key, certificate)
        text = kubeconfig(identity.user, authority.certificate, certificate, _pem(key))
        _private(layout.kubeconfig_of(identity.file), text.encode())
    shutil.copyfile(layout.kubeconfig_of("admin"), layout.kubeconfig)
    layout.kubeconfig.chmod(0o600)


def kubeconfig(user: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """As JSON, which is YAML; all in PEM."""
    cluster = {"server": url(), "certificate-authority-data": _base64(authority)}
    credentials = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "isthmus-lab", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "isthmus-lab", "context": {"cluster": "isthmus-lab", "user": user}}],
            "current-context": "isthmus-lab",
        },
        indent=1,
    )


@dataclass
class _Authority:
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.name = _name("isthmus-lab", None)
        usage = _usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
        built = self._builder(self.name, self.key.public_key()).add_extension(usage, critical=True)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, identity: Identity, public: ec.EllipticCurvePublicKey) -> bytes:
        """For a client, and for a server where it can be addressed."""
        built = self._builder(_name(identity.user, identity.group), public)
        built = built.add_extension(_usage(digital_signature=True), critical=True)
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        places: tuple[x509.GeneralName, ...] = (
            *map(x509.IPAddress, identity.addresses),
            *map(x509.DNSName, identity.names),
        )
        if places:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
            built = built.add_extension(x509.SubjectAlternativeName(places), critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + _VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )


def _name(user: str, group: str | None) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _usage(**given: bool) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**dict.fromkeys(every, False) | given)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> None:
    _private(folder / f"{name}.key", _pem(key))
    (folder / f"{name}.crt").write_bytes(certificate)


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
