"""The model registry inside the cluster: MLflow, its database, and a backup of that in the store."""

from collections.abc import Mapping
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from infra.access import grants
from infra.apps import database, pods, registry_server
from infra.cloud_contracts import (
    CloudRegistryContract,
    ClusterContract,
    ImagesContract,
    MeshContract,
    StoreContract,
)
from infra.local.keys import DrawnSecret
from infra.local.launch import digest_of
from infra.manifests import apply, labelled
from infra.mesh.fencing import REGISTRY
from infra.scope import Scope
from infra.settings import Settings
from workloads.spec.delivery import BackupLaunch, Store

_DIGEST_LENGTH = 12


def registry(
    inside: Scope,
    settings: Settings,
    cluster: ClusterContract,
    stores: Mapping[str, StoreContract],
    pictures: ImagesContract,
    mesh: MeshContract,
) -> CloudRegistryContract:
    """A server at the AWS site. An empty database takes the newest backup, also that of a platform that was lost."""
    scope = inside.component("ModelRegistry", "registry")
    site, _ = settings.aws_site
    store = stores[site.name]
    specs = store.url.apply(lambda url: _backup(site.name, url, store.restore_from))
    config = specs.apply(lambda text: f"registry-{digest_of(text)[:_DIGEST_LENGTH]}")
    rights = _identity(scope, cluster, store, mesh)
    # kinds and namespaces have no value to wait for
    files = [
        apply(scope, f"registry-{manifest['metadata']['name']}", manifest, *mesh.ready)
        for manifest in pods.store_objects(REGISTRY, [store])
    ]
    files.append(
        apply(
            scope,
            "registry-specs",
            pods.spec_files(REGISTRY, config, specs.apply(lambda text: {"backup.json": text})),
            *mesh.ready,
        )
    )
    kept = _database(scope, settings, pictures, mesh)
    proxy = apply(scope, "registry-proxy", registry_server.proxy(), *mesh.ready)
    served = apply(scope, "registry-service", registry_server.service(), *mesh.ready)
    artifacts = pulumi.Output.concat(store.url, "/", registry_server.FOLDER)
    server = apply(
        scope,
        "registry-server",
        registry_server.deployment(pictures, site.name, [store], config, artifacts),
        *rights,
        *files,
        kept,
        proxy,
        served,
    )
    annotated = {"annotations": registry_server.PAST_THE_PROXY}
    apply(
        scope,
        "registry-backup",
        database.backup(pictures, site.name, [store], config, annotated),
        *rights,
        *files,
        kept,
    )
    return CloudRegistryContract(url=registry_server.URL, ready=(server,))


def _database(scope: Scope, settings: Settings, pictures: ImagesContract, mesh: MeshContract) -> pulumi.Resource:
    cloud = settings.of_cloud
    site, _ = settings.aws_site
    given = cloud.database_password
    password: pulumi.Input[str]
    if given is not None:
        password = pulumi.Output.secret(given.get_secret_value())
    else:
        # protected: the volume was set up with it, and knows no other
        password = DrawnSecret("registry-password", scope.keeper()).output("value")
    secret = apply(scope, "registry-database-password", database.secret(password), *mesh.ready)
    account = apply(scope, "database-account", pods.service_account(database.NAME, REGISTRY), *mesh.ready)
    service = apply(scope, "database-service", database.service(), *mesh.ready)
    storage, classes = cloud.cluster.storage_class, []
    if storage is None:
        storage = database.STORAGE_CLASS
        classes.append(apply(scope, "database-storage", database.storage_class(keeps=cloud.protect)))
    manifest = labelled(database.stateful_set(pictures, site.name, storage))
    return kubernetes.apps.v1.StatefulSet(
        "database",
        metadata=manifest["metadata"],
        spec=manifest["spec"],
        opts=scope.keeper(secret, account, service, *classes),
    )


def _identity(
    scope: Scope, cluster: ClusterContract, store: StoreContract, mesh: MeshContract
) -> tuple[pulumi.Resource, ...]:
    """The registry's account, which may read and write its store."""
    name = registry_server.NAME
    account = apply(scope, "registry-account", pods.service_account(name, REGISTRY), *mesh.ready)
    role = grants.service_role(scope, "registry", grants.Trust.pod(REGISTRY, name))
    allowed = grants.write_bucket(scope, "registry-store", role, store)
    known = grants.pod_identity(scope, "registry-identity", cluster, REGISTRY, name, role)
    return account, allowed, known


def _backup(site: str, url: str, lost: str | None) -> str:
    """Where backups go, and where one may come from: the own store first, then the replica of the platform before."""
    addresses = [url, *([f"s3://{lost}"] if lost else [])]
    launch = BackupLaunch(
        stores=tuple(Store(address=address, profile=site) for address in addresses),
        name=database.BACKUP,
        file=Path(database.DUMP),
    )
    return launch.model_dump_json(indent=1)
