"""The service: replicas of the model at each site, behind one name."""

from collections.abc import Mapping, Sequence

import pulumi

from infra.access import grants
from infra.apps import pods, replica_counts, replicas
from infra.apps.served import ACCOUNT, NAME, Service, specs
from infra.cloud_contracts import (
    CloudServiceContract,
    ClusterContract,
    ImagesContract,
    MeshContract,
    SigningContract,
    StoreContract,
    TrainingContract,
)
from infra.manifests import apply
from infra.mesh import ports, routing
from infra.mesh.fencing import SERVING
from infra.scope import Scope
from infra.settings import Settings
from workloads.spec.delivery import Store
from workloads.spec.recipe import Recipe

_TIMEOUT_S = {"onnx": 30.0, "vllm": 300.0}  # of a request with all its retries; a text takes its time


def serve(
    inside: Scope,
    settings: Settings,
    recipe: Recipe,
    stores: Mapping[str, StoreContract],
    cluster: ClusterContract,
    pictures: ImagesContract,
    mesh: MeshContract,
    run: TrainingContract,
    signer: SigningContract,
) -> CloudServiceContract:
    """Replicas at each site that serve what the registry's alias means, from the site's own store.

    Replicas of a new run wait for its model while those of the former one serve. A platform that takes over from a lost
    one does not wait: it serves the lost one's model until it has its own.
    """
    scope = inside.component("InferenceService", "inference")
    cloud = settings.of_cloud
    takes_over = cloud.storage.restore_from is not None
    service = Service(
        recipe=recipe,
        alias=settings.registry.alias,
        run_id=None if takes_over else run.run_id,
        serving=cloud.serving,
        images=pictures,
        trust=signer.public_config,
        takes_over=cloud.recovery.trusted_key is not None,
    )
    names = [site.name for site in settings.sites]
    shared = next(stores[name] for name in names if stores[name].arn is not None)
    ready = [*_identity(scope, cluster, shared, mesh), *signer.ready]
    ready += [
        apply(scope, f"inference-{manifest['metadata']['name']}", manifest, *mesh.ready)
        for manifest in pods.store_objects(SERVING, list(stores.values()))
    ]
    ready += [
        apply(scope, f"inference-proxy-{index}", manifest, *mesh.ready)
        for index, manifest in enumerate(replicas.proxy(service))
    ]
    placed = [_at_site(scope, service, stores[name], shared, ready) for name in names]
    ways = _ways_in(scope, settings, mesh)
    return CloudServiceContract(url=f"https://{cloud.serving.host}", ready=(*placed, *ways))


def _at_site(
    scope: Scope,
    service: Service,
    store: StoreContract,
    shared: StoreContract,
    ready: Sequence[pulumi.Resource],
) -> pulumi.Resource:
    site = store.site
    files = store.url.apply(lambda url: specs(service, site, _sources(store, url, shared)))
    # how many there are is the autoscaler's to say
    placed = apply(
        scope,
        f"{site}-inference",
        replicas.deployment(service, site, store, files),
        *ready,
        ignore=("spec.replicas",),
    )
    apply(scope, f"{site}-inference-scaling", replica_counts.autoscaler(service, site), placed)
    apply(scope, f"{site}-inference-disruption", replica_counts.disruption_budget(site), placed)
    return placed


def _sources(store: StoreContract, url: str, shared: StoreContract) -> tuple[Store, ...]:
    """The site's own store, and the replica of a platform that was lost, which is AWS's at every site."""
    own = pods.store_of(store.site, url)
    lost = shared.restore_from
    return (own,) if lost is None else (own, pods.store_of(shared.site, f"s3://{lost}"))


def _identity(
    scope: Scope, cluster: ClusterContract, shared: StoreContract, mesh: MeshContract
) -> list[pulumi.Resource]:
    """The replicas' account, which may read the AWS store and nothing else."""
    account = apply(scope, "inference-account", pods.service_account(ACCOUNT, SERVING), *mesh.ready)
    role = grants.service_role(scope, "inference", grants.Trust.pod(SERVING, ACCOUNT))
    allowed = grants.read_bucket(scope, "inference-store", role, shared)
    known = grants.pod_identity(scope, "inference-identity", cluster, SERVING, ACCOUNT, role)
    return [account, allowed, known]


def _ways_in(scope: Scope, settings: Settings, mesh: MeshContract) -> list[pulumi.Resource]:
    """One Service over both sites, and how requests find a replica of it."""
    serving = settings.of_cloud.serving
    host = f"{NAME}.{SERVING}.svc.cluster.local"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": SERVING},
        "spec": {
            "selector": {ports.APP_LABEL: NAME},
            "ports": [{"name": "http", "port": ports.INFERENCE, "targetPort": ports.INFERENCE, "appProtocol": "http"}],
        },
    }
    policy = routing.traffic_policy(routing.regions(settings))
    route = routing.virtual_service(
        NAME,
        SERVING,
        serving.host,
        mesh.gateway,
        host,
        ports.INFERENCE,
        timeout_s=_TIMEOUT_S[serving.runtime],
    )
    manifests = {
        "service": service,
        "rule": routing.destination_rule(NAME, SERVING, host, policy),
        "route": route,
    }
    return [apply(scope, f"inference-{name}", manifest, *mesh.ready) for name, manifest in manifests.items()]
