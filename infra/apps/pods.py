"""What the pods of the platform's own images have in common: where files lie, and how stores are reached. Pure.

A pod may have to do with the stores of several sites, whose addresses and keys differ. Each is a profile of the AWS
configuration, named by its site: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pulumi

from infra.apps.allotments import Allotment
from infra.cloud_contracts import StoreContract
from workloads.spec.delivery import Store

Manifest = dict[str, Any]

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a pod, behind mutual TLS or a network policy
WORK: Final = Path("/work")

USER: Final = 10001  # of the images
SPECS: Final = "/etc/isthmus/specs"
PROFILES: Final = "store-profiles"
KEYS: Final = "store-keys"
_PROFILES_AT = "/etc/isthmus/stores"
_KEYS_AT = "/etc/isthmus/keys"
_CREDENTIALS = "credentials"


def profiles(stores: Sequence[StoreContract]) -> str:
    """The AWS configuration: a profile a site. One without keys gets its identity from the pod.

    Stores that are not AWS's own know neither its newer checksums nor buckets as host names.
    """
    lines = []
    for store in stores:
        lines += [f"[profile {store.site}]", f"region = {store.region}"]
        if store.endpoint is not None:
            lines += [
                f"services = {store.site}",
                "request_checksum_calculation = when_required",
                "response_checksum_validation = when_required",
                "s3 =",
                "  addressing_style = path",
                f"[services {store.site}]",
                "s3 =",
                f"  endpoint_url = {store.endpoint}",
            ]
    return "\n".join(lines) + "\n"


def keys(stores: Sequence[StoreContract]) -> pulumi.Output[str]:
    """The credentials file of the stores that have keys."""
    sections = [
        pulumi.Output.format(
            "[{0}]\naws_access_key_id = {1}\naws_secret_access_key = {2}\n",
            store.site,
            store.access_key,
            store.secret_key,
        )
        for store in with_keys(stores)
    ]
    return pulumi.Output.secret(pulumi.Output.concat(*sections))


def with_keys(stores: Sequence[StoreContract]) -> tuple[StoreContract, ...]:
    """Those that no pod's identity opens."""
    return tuple(store for store in stores if store.access_key is not None)


def store_objects(namespace: str, stores: Sequence[StoreContract]) -> list[Manifest]:
    """What a namespace's pods read of the stores: profiles, and keys if there are any."""
    configuration: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": PROFILES, "namespace": namespace},
        "data": {"config": profiles(stores)},
    }
    if not with_keys(stores):
        return [configuration]
    secret: Manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": KEYS, "namespace": namespace},
        "stringData": {_CREDENTIALS: keys(stores)},
    }
    return [configuration, secret]


def store_environment(own: str) -> dict[str, str]:
    """Environment of a pod whose store, where nothing else is said, is that of site `own`."""
    return {
        "AWS_CONFIG_FILE": f"{_PROFILES_AT}/config",
        "AWS_SHARED_CREDENTIALS_FILE": f"{_KEYS_AT}/{_CREDENTIALS}",
        "AWS_PROFILE": own,
        # a link that is down answers nothing: the client's own patience is a minute a try
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "5",
    }


def store_of(site: str, address: str) -> Store:
    """A site's store as a pod of any site is told of it."""
    return Store(address=address, profile=site)


def volumes(specs: Manifest, stores: Sequence[StoreContract]) -> list[Manifest]:
    """Volumes that every pod has: scratch space, its specs, and what `stores`, those that it uses, need.

    `specs` is `of_config_map` or `of_annotations`.
    """
    made: list[Manifest] = [
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "specs", **specs},
        {"name": "stores", "configMap": {"name": PROFILES}},
    ]
    if with_keys(stores):
        made.append({"name": "keys", "secret": {"secretName": KEYS, "defaultMode": 0o440}})
    return made


def mounts(stores: Sequence[StoreContract]) -> list[Manifest]:
    """Where a container has them."""
    made: list[Manifest] = [
        {"name": "work", "mountPath": str(WORK)},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a pod's own
        {"name": "specs", "mountPath": SPECS, "readOnly": True},
        {"name": "stores", "mountPath": _PROFILES_AT, "readOnly": True},
    ]
    if with_keys(stores):
        made.append({"name": "keys", "mountPath": _KEYS_AT, "readOnly": True})
    return made


def container(
    name: str,
    image: tuple[pulumi.Input[str], str],
    arguments: Sequence[pulumi.Input[str]],
    environment: Mapping[str, str],
    mounted: Sequence[Manifest],
    resources: Manifest,
) -> Manifest:
    """A container of one of the platform's images, given with its pull policy; their entry point is `python -m`."""
    reference, pull = image
    return {
        "name": name,
        "image": reference,
        "imagePullPolicy": pull,
        "args": list(arguments),
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "volumeMounts": list(mounted),
        "resources": resources,
    }


def resources(asked: Allotment, limit_mib: int | None = None, devices: Mapping[str, int] | None = None) -> Manifest:
    """Requests, and a limit on memory alone: CPU time that nobody else wants is free. Devices are both."""
    counted = {name: str(count) for name, count in (devices or {}).items() if count}
    return {
        "requests": {"cpu": f"{asked.millicores}m", "memory": f"{asked.memory_mib}Mi", **counted},
        "limits": {"memory": f"{limit_mib or asked.memory_mib}Mi", **counted},
    }


def pod_security() -> Manifest:
    """The images' own user, whose name they know."""
    return {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}


def service_account(name: str, namespace: str) -> Manifest:
    """An identity without a token: nothing here talks to Kubernetes."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
        "automountServiceAccountToken": False,
    }


def of_config_map(name: pulumi.Input[str]) -> Manifest:
    """Specs that lie in a ConfigMap, made by `spec_files`."""
    return {"configMap": {"name": name}}


def annotations(files: pulumi.Output[Mapping[str, str]], *names: str) -> dict[str, pulumi.Input[str]]:
    """Specs as annotations of the pod that reads them.

    A Deployment's former pods can start again for as long as they are needed: nothing that they read is replaced.
    """

    def text(name: str) -> pulumi.Output[str]:
        return files.apply(lambda known: known[name])

    return {_annotation(name): text(name) for name in names}


def of_annotations(*names: str) -> Manifest:
    """The files of `annotations`: https://kubernetes.io/docs/concepts/workloads/pods/downward-api/."""
    items = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{_annotation(name)}']"}} for name in names
    ]
    return {"downwardAPI": {"items": items}}


def _annotation(name: str) -> str:
    return f"isthmus.dev/{name}"


def spec_files(namespace: str, name: pulumi.Input[str], files: pulumi.Input[Mapping[str, str]]) -> Manifest:
    """Specs as an immutable ConfigMap: what a pod was started with is what its name says."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "immutable": True,
        "data": files,
    }
