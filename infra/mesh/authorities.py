"""cert-manager's objects as mappings. Pure."""

from typing import Any, Final

Manifest = dict[str, Any]

API: Final = "cert-manager.io/v1"
NAMESPACE: Final = "cert-manager"
"""Where cert-manager looks for the secrets of ClusterIssuers: its own namespace."""

ROOT: Final = "isthmus-roots"
SITES: Final = "isthmus-sites"
INGRESS: Final = "isthmus-ingress"

YEAR_HOURS = 8760


def root() -> Manifest:
    """Who signs the authorities: themselves."""
    return _issuer(ROOT, {"selfSigned": {}})


def authority(name: str, words: str) -> Manifest:
    """The certificate of an authority. Its key stays at renewal: what it signed is still trusted, so nothing restarts."""
    return {
        "apiVersion": API,
        "kind": "Certificate",
        "metadata": {"name": f"{name}-ca", "namespace": NAMESPACE},
        "spec": {
            "isCA": True,
            "commonName": words,
            "secretName": f"{name}-ca",
            "duration": f"{10 * YEAR_HOURS}h",
            "renewBefore": f"{YEAR_HOURS}h",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"},
            "usages": ["cert sign", "crl sign", "digital signature"],
            "issuerRef": {"name": ROOT, "kind": "ClusterIssuer", "group": "cert-manager.io"},
        },
    }


def issuer(name: str) -> Manifest:
    """The issuer of an authority, for every namespace."""
    return _issuer(name, {"ca": {"secretName": f"{name}-ca"}})


def server_certificate(name: str, namespace: str, host: str, issuer_name: str) -> Manifest:
    """A certificate of a server, renewed a month before it ends, with a new key each time."""
    return {
        "apiVersion": API,
        "kind": "Certificate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "secretName": name,
            "dnsNames": [host],
            "duration": "2160h",
            "renewBefore": "720h",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth"],
            "issuerRef": {"name": issuer_name, "kind": "ClusterIssuer", "group": "cert-manager.io"},
        },
    }


def _issuer(name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API, "kind": "ClusterIssuer", "metadata": {"name": name}, "spec": spec}
