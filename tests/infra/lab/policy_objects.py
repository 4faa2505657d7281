"""A cluster with policies, for tests of what they mean on one of its nodes."""

from typing import Any

from tests.lab.policies import objects
from tests.lab.policies.fences import Fences, fences
from tests.lab.policies.objects import Snapshot

Raw = dict[str, Any]


def pod(name: str, address: str, space: str = "a", node: str = "here", ports: Raw | None = None, **labels: str) -> Raw:
    listed = [{"name": key, "containerPort": number} for key, number in (ports or {}).items()]
    return {
        "metadata": {"name": name, "namespace": space, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "main", "ports": listed}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    }


def policy(spec: Raw, space: str = "a", name: str = "one") -> Raw:
    return {"metadata": {"name": name, "namespace": space}, "spec": {"podSelector": {}, **spec}}


def cluster(pods: list[Raw], *policies: Raw, **namespaces: dict[str, str]) -> Snapshot:
    known = (objects.pod(raw) for raw in pods)
    return Snapshot(
        pods=tuple(one for one in known if one is not None),
        namespaces={"a": {"team": "a"}, "b": {"team": "b"}, **namespaces},
        policies=tuple(map(objects.policy, policies)),
    )


def here(snapshot: Snapshot) -> Fences:
    return fences(snapshot, "here")
