"""The model registry's server: MLflow on PostgreSQL, its artefacts in the store. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import pulumi

from infra.apps import database, pods
from infra.apps.allotments import Allotment
from infra.cloud_contracts import ImagesContract, StoreContract
from infra.manifests import labels, restricted
from infra.mesh import ports
from infra.mesh.fencing import REGISTRY
from infra.mesh.routing import API
from infra.releases import OFF_HYBRID_NODES

Manifest = dict[str, Any]

NAME: Final = "registry"
HOST: Final = f"{NAME}.{REGISTRY}.svc"
URL: Final = f"http://{HOST}:{ports.REGISTRY}"
FOLDER: Final = "registry"  # of the artefacts, in the store
_SELECTOR: Final = {ports.APP_LABEL: NAME, "app.kubernetes.io/component": "server"}

# Stores and identities are reached past the proxy: what may be reached outside is said by network policies.
PAST_THE_PROXY: Final = {
    "traffic.sidecar.istio.io/excludeOutboundPorts": "443",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": "169.254.170.23/32",
}

_HEALTHY = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{ports.REGISTRY}/health', timeout=5)"

# An empty database takes the newest backup: after a volume was lost, and where a whole region was. Errors end the pod.
_RESTORE = (
    f"test -f {database.DUMP} || exit 0; "  # noqa: S608 - of constants
    "until pg_isready; do sleep 2; done; "
    "tables=$(psql --no-align --tuples-only --command "
    "\"select count(*) from information_schema.tables where table_schema = 'public'\") || exit 1; "
    'test "$tables" = 0 || exit 0; '
    f"exec pg_restore --dbname={database.USER} --no-owner --single-transaction {database.DUMP}"
)


def service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        # its pods are made after it
        "metadata": {"name": NAME, "namespace": REGISTRY, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {
            "selector": _SELECTOR,
            "ports": [{"name": "http", "port": ports.REGISTRY, "targetPort": ports.REGISTRY, "appProtocol": "http"}],
        },
    }


def proxy() -> Manifest:
    """MLflow listens on loopback: whatever comes in has passed the proxy, and its policies.

    https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener
    """
    listener = {
        "port": {"number": ports.REGISTRY, "protocol": "HTTP", "name": "http"},
        "defaultEndpoint": f"127.0.0.1:{ports.REGISTRY}",
    }
    return {
        "apiVersion": API,
        "kind": "Sidecar",
        "metadata": {"name": NAME, "namespace": REGISTRY},
        "spec": {"workloadSelector": {"labels": _SELECTOR}, "ingress": [listener]},
    }


def deployment(
    images: ImagesContract,
    site: str,
    stores: Sequence[StoreContract],
    specs: pulumi.Input[str],
    artifacts: pulumi.Input[str],
) -> Manifest:
    """One server at a time: it changes the database's schema when it starts."""
    mounted = pods.mounts(stores)
    image = (images.registry, images.pull_policy)
    environment = pods.store_environment(site)
    recall = pods.container(
        "recall",
        image,
        ("workloads.delivery", "recall", f"{pods.SPECS}/backup.json"),
        environment,
        mounted,
        pods.resources(Allotment(100, 256), limit_mib=1024),
    )
    restore = database.client("restore", images, ("sh", "-c", _RESTORE), mounted)
    server = pods.container(
        "server",
        image,
        ("workloads.registry.server", f"--port={ports.REGISTRY}", pulumi.Output.concat("--artifacts=", artifacts)),
        environment,
        mounted,
        pods.resources(Allotment(500, 1024), limit_mib=3072),
    )
    address = (
        f"postgresql+psycopg2://{database.USER}:$(DATABASE_PASSWORD)@{database.NAME}:{ports.DATABASE}/{database.USER}"
    )
    server["env"] += [
        database.password_variable("DATABASE_PASSWORD"),
        {"name": "MLFLOW_BACKEND_STORE_URI", "value": address},
        # others are taken for an attempt at DNS rebinding: https://mlflow.org/docs/latest/self-hosting/security/network/
        {"name": "MLFLOW_SERVER_ALLOWED_HOSTS", "value": f"{HOST},{HOST}:{ports.REGISTRY},localhost:*,127.0.0.1:*"},
    ]
    # in the pod, as nothing but its proxy reaches loopback
    check = {"exec": {"command": ["python", "-c", _HEALTHY]}, "timeoutSeconds": 10}
    server |= {
        "ports": [{"name": "http", "containerPort": ports.REGISTRY}],
        "startupProbe": {**check, "periodSeconds": 10, "failureThreshold": 60},
        "readinessProbe": {**check, "periodSeconds": 15},
        "livenessProbe": {**check, "periodSeconds": 30, "failureThreshold": 5},
    }
    pod = {
        "serviceAccountName": NAME,
        "securityContext": pods.pod_security(),
        "terminationGracePeriodSeconds": 30,
        "affinity": dict(OFF_HYBRID_NODES),
        "initContainers": [recall, restore],
        "containers": [server],
        "volumes": pods.volumes(pods.of_config_map(specs), stores),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": REGISTRY},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _SELECTOR},
            "template": {
                "metadata": {
                    "labels": {**labels(NAME), **_SELECTOR, ports.SITE_LABEL: site},
                    "annotations": PAST_THE_PROXY,
                },
                "spec": restricted(pod),
            },
        },
    }
