"""Who may call whom inside the mesh: mutual TLS, and nothing that is not listed. Pure."""

from typing import Any, Final

from infra.cloud_settings import AccessSettings
from infra.mesh import ports
from infra.mesh.fencing import INGRESS_NAMESPACE, MESH_NAMESPACE, REGISTRY, SERVING

Manifest = dict[str, Any]

API: Final = "security.istio.io/v1"
INGRESS_ACCOUNT: Final = "istio-ingress"


def principal(namespace: str, account: str) -> str:
    """A workload's identity in its certificate (https://istio.io/latest/docs/concepts/security/#istio-identity)."""
    return f"cluster.local/ns/{namespace}/sa/{account}"


def strict_mtls() -> Manifest:
    """Of the root namespace, so for the whole mesh."""
    return _object("PeerAuthentication", MESH_NAMESPACE, "default", {"mtls": {"mode": "STRICT"}})


def plain_ports() -> list[Manifest]:
    """Ports that take plain text as well, from whom a network policy says.

    Trainers, which write to the registry, and Prometheus, which asks replicas how they are, have no sidecar.
    """
    return [
        _object(
            "PeerAuthentication",
            namespace,
            app,
            {
                "selector": _selector(app),
                "mtls": {"mode": "STRICT"},
                "portLevelMtls": {str(port): {"mode": "PERMISSIVE"}},
            },
        )
        for namespace, app, port in (
            (REGISTRY, "registry", ports.REGISTRY),
            (SERVING, "inference", ports.INFERENCE_HEALTH),
        )
    ]


def deny_all() -> Manifest:
    """A policy without rules allows nothing (https://istio.io/latest/docs/concepts/security/#allow-nothing)."""
    return _object("AuthorizationPolicy", MESH_NAMESPACE, "deny-all", {})


def allows(access: AccessSettings | None, host: str) -> list[Manifest]:
    """Every allowed call."""
    ingress, inference, registry = (
        principal(INGRESS_NAMESPACE, INGRESS_ACCOUNT),
        principal(SERVING, "inference"),
        principal(REGISTRY, "registry"),
    )
    return [
        _object(
            "AuthorizationPolicy",
            INGRESS_NAMESPACE,
            "entry",
            {"selector": _selector("istio-ingress"), "action": "ALLOW", "rules": [_entry(access, host)]},
        ),
        _allow(SERVING, "inference", [_rule(ingress, ports.INFERENCE), _plain(ports.INFERENCE_HEALTH)]),
        _allow(REGISTRY, "registry", [_rule(inference, ports.REGISTRY), _plain(ports.REGISTRY)]),
        _allow(REGISTRY, "database", [_rule(registry, ports.DATABASE)]),
    ]


def request_authentication(access: AccessSettings) -> Manifest:
    """Tokens that the gateway reads. A request without one passes here, and is refused by the rule of the entry."""
    rule = {
        "issuer": access.issuer,
        "jwksUri": access.jwks,
        "audiences": list(access.audiences),
        "forwardOriginalToken": False,
    }
    spec = {"selector": _selector("istio-ingress"), "jwtRules": [rule]}
    return _object("RequestAuthentication", INGRESS_NAMESPACE, "tokens", spec)


def _entry(access: AccessSettings | None, host: str) -> Manifest:
    rule: Manifest = {"to": [{"operation": {"hosts": [host, f"{host}:*"]}}]}
    if access is not None:
        rule["from"] = [{"source": {"requestPrincipals": [f"{access.issuer}/*"]}}]
    return rule


def _allow(namespace: str, app: str, rules: list[Manifest]) -> Manifest:
    spec = {"selector": _selector(app), "action": "ALLOW", "rules": rules}
    return _object("AuthorizationPolicy", namespace, app, spec)


def _rule(caller: str, port: int) -> Manifest:
    return {"from": [{"source": {"principals": [caller]}}], "to": [_operation(port)]}


def _plain(port: int) -> Manifest:
    return {"from": [{"source": {"notPrincipals": ["*"]}}], "to": [_operation(port)]}


def _operation(port: int) -> Manifest:
    return {"operation": {"ports": [str(port)]}}


def _selector(app: str) -> Manifest:
    return {"matchLabels": {ports.APP_LABEL: app}}


def _object(kind: str, namespace: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
