"""Istio: mutual TLS everywhere in it, nothing allowed that is not listed, and a gateway at each site."""

from typing import Any

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
    space, ready = _way_in(scope, settings, issuers.ingress, (*control, *issuers.ready))
    doors = {door.site: _door(scope, settings, door, space, ready) for door in ingress.doors(settings)}
    return MeshContract(
        serving_namespace=fencing.SERVING,
        registry_namespace=fencing.REGISTRY,
        gateway=f"{fencing.INGRESS_NAMESPACE}/{ingress.GATEWAY}",
        doors={site: address for site, (address, _) in doors.items()},
        ready=(*rules, *ready, *(made for _, door in doors.values() for made in door)),
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


def _way_in(
    scope: Scope, settings: Settings, issuer: str, after: Resources
) -> tuple[pulumi.Resource, tuple[pulumi.Resource, ...]]:
    """What the doors have in common: their namespace, and all that is about them, which is there before a proxy is."""
    serving = settings.of_cloud.serving
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
    return space, (
        *fences,
        *rules,
        reader,
        apply(scope, "door-account", ingress.account(), space),
        apply(scope, "door-certificate", certificate, space),
        apply(scope, "door-gateway", ingress.gateway(serving.host), space),
    )


def _door(
    scope: Scope, settings: Settings, door: ingress.Door, space: pulumi.Resource, after: Resources
) -> tuple[pulumi.Output[str], Resources]:
    """The proxies of a site, and where they are reached."""
    serving = settings.of_cloud.serving
    prefix = f"{door.site}-door" if door.hybrid else "door"
    proxies = apply(scope, f"{prefix}-proxies", ingress.deployment(door), *after)
    budget = apply(scope, f"{prefix}-budget", ingress.disruption_budget(door), space)
    wanted = ingress.service(door, scope.naming.tags("models"), tokens=serving.access is not None)
    service: Any = apply(scope, f"{prefix}-service", wanted, proxies)
    address = service.status.apply(lambda status: ingress.given_name(status, door.host))
    return address, (proxies, budget, service)


def _at_the_door(rule: dict[str, dict[str, str]]) -> bool:
    return rule["metadata"]["namespace"] == fencing.INGRESS_NAMESPACE


def _name(manifest: dict[str, dict[str, str]]) -> str:
    metadata = manifest["metadata"]
    return f"mesh-{metadata['namespace']}-{metadata['name']}-{str(manifest['kind']).lower()}"
