"""The control plane's commands and files, as EKS has it where that can be had here. Pure."""

import base64
import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from tests.lab.cluster.layout import API, CONTROL, PORT, Layout
from tests.lab.cluster.pki import ACCOUNTS, AUTHORITY
from tests.lab.daemons import Daemon

Flags = Mapping[str, object]

_ETCD, _PEERS = "http://127.0.0.1:2379", "http://127.0.0.1:2380"  # of the namespace's own loopback
_ENCRYPTION: Final = "encryption.json"


def inside(namespace: str, *command: object) -> list[str]:
    """A command in a network namespace, with the files of this machine."""
    return ["nsenter", f"--net=/run/netns/{namespace}", *map(str, command)]


def flags(values: Flags) -> list[str]:
    """As Kubernetes' programs take them."""
    return [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]


def etcd(layout: Layout) -> Daemon:
    values = {
        "data-dir": layout.etcd,
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": _PEERS,
        "initial-advertise-peer-urls": _PEERS,
        "initial-cluster": f"default={_PEERS}",
        "log-level": "warn",
        "unsafe-no-fsync": True,  # it is made anew with every cluster
    }
    return _daemon(layout, "etcd", values)


def api_server(layout: Layout, services: IPv4Network) -> Daemon:
    """Audit is off, and encryption's key is a file's and not KMS's: the only differences from what the stack asks of EKS."""

    def pair(name: str) -> tuple[str, str]:
        return f"{layout.pki / name}.crt", f"{layout.pki / name}.key"

    authority, accounts = pair(AUTHORITY)[0], layout.pki / f"{ACCOUNTS}.key"
    served, kubelets, proxied = pair("apiserver"), pair("apiserver-to-kubelet"), pair("front-proxy")
    values = {
        "bind-address": API.ip,
        "advertise-address": API.ip,
        "secure-port": PORT,
        "etcd-servers": _ETCD,
        "encryption-provider-config": layout.pki / _ENCRYPTION,
        "service-cluster-ip-range": services,
        "allow-privileged": True,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        # what EKS does by a webhook that gives pods their identity, a policy does here
        "feature-gates": "MutatingAdmissionPolicy=true",
        "runtime-config": "admissionregistration.k8s.io/v1beta1=true",
        # webhooks are called at their pods: the control plane is on no node, so no proxy translates services for it
        "enable-aggregator-routing": True,
        "client-ca-file": authority,
        "tls-cert-file": served[0],
        "tls-private-key-file": served[1],
        "kubelet-certificate-authority": authority,
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-client-certificate": kubelets[0],
        "kubelet-client-key": kubelets[1],
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-signing-key-file": accounts,
        "service-account-key-file": accounts,
        "requestheader-client-ca-file": authority,
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": proxied[0],
        "proxy-client-key-file": proxied[1],
        "profiling": False,
    }
    return _daemon(layout, "kube-apiserver", values)


def managers(layout: Layout) -> tuple[Daemon, Daemon]:
    """Controller manager and scheduler: nobody competes with them, so neither waits to lead."""
    authority = {"crt": layout.pki / f"{AUTHORITY}.crt", "key": layout.pki / f"{AUTHORITY}.key"}
    common = {"bind-address": "127.0.0.1", "leader-elect": False, "profiling": False}
    controllers = {
        **common,
        "kubeconfig": layout.kubeconfig_of("controller-manager"),
        "use-service-account-credentials": True,
        "service-account-private-key-file": layout.pki / f"{ACCOUNTS}.key",
        "root-ca-file": authority["crt"],
        "cluster-signing-cert-file": authority["crt"],
        "cluster-signing-key-file": authority["key"],
        "flex-volume-plugin-dir": layout.root / "volume-plugins",
    }
    scheduler = {**common, "kubeconfig": layout.kubeconfig_of("scheduler")}
    return _daemon(layout, "kube-controller-manager", controllers), _daemon(layout, "kube-scheduler", scheduler)


def encryption(secret: bytes) -> str:
    """Secrets at rest, by a key of 32 bytes: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/."""
    key = {"name": "lab", "secret": base64.b64encode(secret).decode("ascii")}
    return json.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [
                {"resources": ["secrets"], "providers": [{"secretbox": {"keys": [key]}}, {"identity": {}}]},
            ],
        }
    )


def write_encryption(layout: Layout, secret: bytes) -> None:
    path = layout.pki / _ENCRYPTION
    path.touch(mode=0o600)
    path.write_text(encryption(secret), encoding="utf-8")


def _daemon(layout: Layout, name: str, values: Flags) -> Daemon:
    command: Sequence[str] = inside(CONTROL, layout.bin / name, *flags(values))
    return Daemon(name, command, layout.run)
