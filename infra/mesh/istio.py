"""Istio: mutual TLS everywhere in it, nothing allowed that is not listed, and one gateway."""

import pulumi

from infra.access import grants
from infra.cloud_contracts import CertificatesContract, ControllersContract, MeshContract, NamespacesContract
from infra.manifests import apply, namespace
from infra.mesh import authorities, fencing, guarding, ingress, installation, routing
from infra.releases import CHARTS, release
from infra.scope import Scope
from infra.settings import Settings

Resources = tuple[pulumi.Resource, ...]


def mesh(
    scope: Scope,
    settings: Settings,
    installed: ControllersContract,
    issuers: CertificatesContract,
    fenced: NamespacesContract,
) -> MeshContract:
    """The mesh over the namespaces that are injected. An Istio that is there already is used as it is."""
    scope = scope.component("Mesh", "mesh")
    there = "istio" in settings.of_cloud.cluster.installed
    control = installed.ready if there else _install(scope, installed)
    rules = _rules(scope, settings, (*control, *fenced.ready))
    door = _door(scope, settings, issuers.ingress, (*control, *issuers.ready))
    return MeshContract(
        serving_namespace=fencing.SERVING,
        registry_namespace=fencing.REGISTRY,
        gateway=f"{fencing.INGRESS_NAMESPACE}/{ingress.GATEWAY}",
        ready=(*rules, *door),
    )


def _install(scope: Scope, installed: ControllersContract) -> Resources:
    # the plugin mounts the node's network configuration, so its namespace cannot be restricted
    root = namespace(scope, fencing.MESH_NAMESPACE, *installed.ready, security="privileged")
    base = release(scope, CHARTS["istio-base"], installation.base_values(), root)
    # a pod that starts before the plugin is on its node has no mutual TLS: istiod, which injects, comes last
    cni = release(scope, CHARTS["istio-cni"], installation.cni_values(), base)
    return (release(scope, CHARTS["istiod"], installation.istiod_values(), base, cni),)


def _rules(scope: Scope, settings: Settings, after: Resources) -> Resources:
    """Identity, permission, logs and the default of every route; they are there before the first pod that they are about."""
    serving = settings.of_cloud.serving
    default = routing.destination_rule(
        "default",
        fencing.MESH_NAMESPACE,
        f"*.{fencing.SERVING}.svc.cluster.local",
        routing.traffic_policy(routing.regions(settings)),
    )
    before_the_door = [
        guarding.strict_mtls(),
        guarding.deny_all(),
        *guarding.plain_ports(),
        installation.access_logs()[0],
        default,
    ]
    inner = [rule for rule in guarding.allows(serving.access, serving.host) if not _at_the_door(rule)]
    return tuple(apply(scope, _name(manifest), manifest, *after) for manifest in (*before_the_door, *inner))


def _door(scope: Scope, settings: Settings, issuer: str, after: Resources) -> Resources:
    serving = settings.of_cloud.serving
    site, _ = settings.aws_site
    space = namespace(scope, fencing.INGRESS_NAMESPACE, *after, injected=True)
    fences = [
        apply(scope, f"door-{policy['metadata']['name']}", policy, space)
        for policy in fencing.ingress_policies(fencing.Networks.of(settings))
    ]
    tokens = [guarding.request_authentication(serving.access)] if serving.access else []
    rules = [
        apply(scope, _name(manifest), manifest, space)
        for manifest in (
            *filter(_at_the_door, guarding.allows(serving.access, serving.host)),
            *tokens,
            installation.access_logs()[1],
        )
    ]
    # the proxy gets its certificate from istiod, which asks whether this account may read it:
    # https://istio.io/latest/docs/setup/additional-setup/gateway/
    reader = grants.kubernetes_reader(
        scope,
        "door-certificates",
        fencing.INGRESS_NAMESPACE,
        guarding.INGRESS_ACCOUNT,
        [grants.Rule(groups=[""], resources=["secrets"])],
        space,
    )
    certificate = authorities.server_certificate(ingress.TLS_SECRET, fencing.INGRESS_NAMESPACE, serving.host, issuer)
    account = apply(scope, "door-account", ingress.account(), space)
    proxies = apply(scope, "door-proxies", ingress.deployment(site.name), account, *fences, *rules)
    return (
        proxies,
        reader,
        apply(scope, "door-certificate", certificate, space),
        apply(scope, "door-budget", ingress.disruption_budget(), space),
        apply(scope, "door-service", ingress.service(serving, scope.naming.tags("models")), proxies),
        apply(scope, "door-gateway", ingress.gateway(serving.host), space),
    )


def _at_the_door(rule: dict[str, dict[str, str]]) -> bool:
    return rule["metadata"]["namespace"] == fencing.INGRESS_NAMESPACE


def _name(manifest: dict[str, dict[str, str]]) -> str:
    metadata = manifest["metadata"]
    return f"mesh-{metadata['namespace']}-{metadata['name']}-{str(manifest['kind']).lower()}"
