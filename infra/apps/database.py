"""The registry's database: PostgreSQL on an encrypted volume, with a backup in the store every night. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi

from infra.apps import pods
from infra.apps.allotments import Allotment
from infra.cloud_contracts import ImagesContract, StoreContract
from infra.manifests import labels, restricted
from infra.mesh import ports
from infra.mesh.fencing import REGISTRY
from infra.releases import OFF_HYBRID_NODES

Manifest = dict[str, Any]

NAME: Final = "database"
ACCOUNT: Final = "registry"  # whom the mesh lets to the database
SECRET: Final = "registry-database"  # noqa: S105 - the name of one
STORAGE_CLASS: Final = "isthmus-encrypted"
DUMP: Final = "/work/registry.dump"
BACKUP: Final = "backups/registry.dump"
USER: Final = "mlflow"
_POSTGRES: Final = 999  # of the image: https://github.com/docker-library/postgres
_PASSWORD: Final = "password"  # noqa: S105 - the entry of the secret
_DATA: Final = "/var/lib/postgresql/data"
_SELECTOR: Final = {ports.APP_LABEL: NAME}


def storage_class(*, keeps: bool) -> Manifest:
    """Volumes of EBS, encrypted with the account's key; one whose claim is gone stays where the stack protects state."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3", "encrypted": "true", "csi.storage.k8s.io/fstype": "ext4"},
        "reclaimPolicy": "Retain" if keeps else "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def secret(password: pulumi.Input[str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": REGISTRY},
        "stringData": {_PASSWORD: password},
    }


def password_variable(name: str) -> Manifest:
    """The password as an environment variable, known to no manifest."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": _PASSWORD}}}


def service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        # its pods are made after it
        "metadata": {"name": NAME, "namespace": REGISTRY, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {
            "selector": _SELECTOR,
            "ports": [{"name": "tcp-postgres", "port": ports.DATABASE, "targetPort": ports.DATABASE}],
        },
    }


def stateful_set(images: ImagesContract, site: str, storage: str) -> Manifest:
    """One server. Its volume is of `storage`, a StorageClass, and outlives it."""
    check = {"exec": {"command": ["pg_isready", "--username", USER, "--dbname", USER]}}
    server = {
        "name": "postgres",
        "image": images.postgres,
        "imagePullPolicy": images.pull_policy,
        "env": [
            {"name": "POSTGRES_USER", "value": USER},
            {"name": "POSTGRES_DB", "value": USER},
            password_variable("POSTGRES_PASSWORD"),
            {"name": "PGDATA", "value": f"{_DATA}/pgdata"},
        ],
        "ports": [{"name": "tcp-postgres", "containerPort": ports.DATABASE}],
        "volumeMounts": [
            {"name": "data", "mountPath": _DATA},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a pod's own
        ],
        "resources": pods.resources(Allotment(250, 512), limit_mib=2048),
        "startupProbe": {**check, "periodSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {**check, "periodSeconds": 10},
        "livenessProbe": {**check, "periodSeconds": 20, "failureThreshold": 6},
    }
    pod = {
        "serviceAccountName": NAME,
        "securityContext": {"runAsUser": _POSTGRES, "runAsGroup": _POSTGRES, "fsGroup": _POSTGRES},
        "terminationGracePeriodSeconds": 60,
        "affinity": dict(OFF_HYBRID_NODES),
        "containers": [server],
        "volumes": [{"name": "run", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage,
            "resources": {"requests": {"storage": "20Gi"}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": NAME, "namespace": REGISTRY},
        "spec": {
            "replicas": 1,
            "serviceName": NAME,
            "selector": {"matchLabels": _SELECTOR},
            "template": {"metadata": {"labels": {**labels(NAME), ports.SITE_LABEL: site}}, "spec": restricted(pod)},
            "volumeClaimTemplates": [claim],
        },
    }


def backup(
    images: ImagesContract, site: str, stores: Sequence[StoreContract], specs: pulumi.Input[str], pod: Mapping[str, Any]
) -> Manifest:
    """Every night a dump, over the one before: the store keeps earlier versions. `pod` is what the mesh wants of pods."""
    mounted = pods.mounts(stores)
    job = {
        "restartPolicy": "Never",
        "serviceAccountName": ACCOUNT,
        "securityContext": pods.pod_security(),
        "affinity": dict(OFF_HYBRID_NODES),
        "initContainers": [client("dump", images, ("pg_dump", "--format=custom", f"--file={DUMP}"), mounted)],
        "containers": [
            pods.container(
                "keep",
                (images.registry, images.pull_policy),
                ("workloads.delivery", "keep", f"{pods.SPECS}/backup.json"),
                pods.store_environment(site),
                mounted,
                pods.resources(Allotment(100, 256), limit_mib=1024),
            )
        ],
        "volumes": pods.volumes(pods.of_config_map(specs), stores),
    }
    named = {**labels("registry"), "app.kubernetes.io/component": "backup", ports.SITE_LABEL: site}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "registry-backup", "namespace": REGISTRY},
        "spec": {
            "schedule": "17 2 * * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 3,
                    "activeDeadlineSeconds": 3600,
                    "template": {"metadata": {"labels": named, **pod}, "spec": restricted(job)},
                }
            },
        },
    }


def client(name: str, images: ImagesContract, command: Sequence[str], mounted: Sequence[Manifest]) -> Manifest:
    """A container with PostgreSQL's own tools, told by the environment where the database is."""
    return {
        "name": name,
        "image": images.postgres,
        "imagePullPolicy": images.pull_policy,
        "command": list(command),
        "env": [
            {"name": "PGHOST", "value": NAME},
            {"name": "PGUSER", "value": USER},
            {"name": "PGDATABASE", "value": USER},
            password_variable("PGPASSWORD"),
            {"name": "PGCONNECT_TIMEOUT", "value": "10"},
        ],
        "volumeMounts": list(mounted),
        "resources": pods.resources(Allotment(100, 128), limit_mib=512),
    }
