"""Certificate authorities of the platform, inside the cluster."""

from infra.cloud_contracts import CertificatesContract, ControllersContract, NamespacesContract
from infra.manifests import apply
from infra.mesh import authorities
from infra.scope import Scope
from infra.settings import Settings

_AUTHORITIES = {authorities.SITES: "Isthmus sites", authorities.INGRESS: "Isthmus ingress"}


def issuers(
    scope: Scope, settings: Settings, installed: ControllersContract, spaces: NamespacesContract
) -> CertificatesContract:
    """One authority for the trainers' mutual TLS and another for the way in: who trusts the one need not trust the other."""
    del settings, spaces  # every cloud stack has the same; issuers are in no namespace
    scope = scope.component("Certificates", "certificates")
    # kinds and webhooks are cert-manager's: nothing here has a value that would wait for it
    root = apply(scope, "certificates-root", authorities.root(), *installed.ready)
    ready = []
    for name, words in _AUTHORITIES.items():
        signed = apply(scope, f"{name}-authority", authorities.authority(name, words), root)
        ready.append(apply(scope, f"{name}-issuer", authorities.issuer(name), signed))
    return CertificatesContract(sites=authorities.SITES, ingress=authorities.INGRESS, ready=tuple(ready))
