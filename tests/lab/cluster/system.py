"""What the cluster holds before anything is installed: names, the proxy's rights, and a volume. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import yaml

from tests.lab.cluster.layout import NODE_NAMES, VOLUME_ON_NODE
from tests.lab.cluster.plan import Plan

Manifest = dict[str, Any]

STORAGE_CLASS: Final = "lab"
VOLUME: Final = "lab-registry"
_DNS_LABELS: Final = {"k8s-app": "kube-dns"}  # which network policies go by
_COREFILE: Final = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    cache 5
    loadbalance
    reload
}
"""


def as_yaml(manifests: Sequence[Manifest]) -> str:
    return yaml.safe_dump_all(manifests, sort_keys=False)


def proxy_rights() -> list[Manifest]:
    return [_bound("kube-proxy", "system:node-proxier", {"kind": "User", "name": "system:kube-proxy", **_RBAC})]


def names(plan: Plan) -> list[Manifest]:
    """CoreDNS on each node, asked on its own node alone: names are found on both sides of a link that is cut."""
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    account = {"name": "coredns", "namespace": "kube-system"}
    ports = [{"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    service = {
        "clusterIP": str(plan.dns),
        "selector": _DNS_LABELS,
        "internalTrafficPolicy": "Local",
        "ports": [{**port, "targetPort": 53} for port in ports],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": rules,
        },
        _bound("system:coredns", "system:coredns", {"kind": "ServiceAccount", **account}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": account, "data": {"Corefile": _COREFILE}},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": account, "spec": _dns_pods()},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": service,
        },
    ]


def storage_class() -> Manifest:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume() -> Manifest:
    """A folder of the node that stands for the system nodes, for the registry's database."""
    here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAMES[0]]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": VOLUME},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(VOLUME_ON_NODE)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
        },
    }


_RBAC: Final = {"apiGroup": "rbac.authorization.k8s.io"}


def _bound(name: str, role: str, subject: Manifest) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": role, **_RBAC},
        "subjects": [subject],
    }


def _dns_pods() -> Manifest:
    container = {
        "name": "coredns",
        "image": "localhost/coredns:1",
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "resources": {"requests": {"cpu": "50m", "memory": "48Mi"}, "limits": {"memory": "170Mi"}},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 30},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "securityContext": {
            "runAsUser": 0,  # of the node, who may bind the port: network policies know no other
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-node-critical",
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return {
        "selector": {"matchLabels": _DNS_LABELS},
        "template": {"metadata": {"labels": _DNS_LABELS}, "spec": pod},
    }
