"""The pair of keys that signs models: the private half where models are made, the public half where they are served."""

from typing import Any

from infra.cloud_contracts import NAMESPACES, NamespacesContract, SigningContract
from infra.local.keys import SigningKey
from infra.manifests import apply
from infra.scope import Scope
from infra.settings import Settings

NAME = "signing-key"
"""Of the Secret and of the ConfigMap."""
PRIVATE, PUBLIC, RECOVERED = "private.pem", "public.pem", "recovered.pem"
"""Their entries. `recovered.pem` is there in a recovery: the key of the platform whose models it takes over."""

_TRAINING, _SERVING, _ = NAMESPACES


def signing_keys(inside: Scope, settings: Settings, spaces: NamespacesContract) -> SigningContract:
    """Draw the pair and put each half where it is needed. It is never drawn again: old signatures go by it."""
    scope = inside.component("Signing", "signing")
    pair = SigningKey("signing", scope.keeper())
    private, public = pair.output("private_pem"), pair.output("public_pem")
    secret = {
        **_object("Secret", _TRAINING),
        "type": "Opaque",
        "stringData": {PRIVATE: private},
        "immutable": True,
    }
    trusted = settings.of_cloud.recovery.trusted_key
    public_keys: dict[str, Any] = {PUBLIC: public, **({RECOVERED: trusted} if trusted else {})}
    config = {**_object("ConfigMap", _SERVING), "data": public_keys}
    ready = (
        apply(scope, f"{NAME}-private", secret, *spaces.ready),  # a namespace has no value to wait for
        apply(scope, f"{NAME}-public", config, *spaces.ready),
    )
    return SigningContract(private_secret=NAME, public_config=NAME, ready=ready, public_pem=public)


def _object(kind: str, namespace: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": NAME, "namespace": namespace}}
