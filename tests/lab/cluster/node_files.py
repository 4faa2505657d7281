"""What a node is told before it starts: one document for `inside.py`, with every file and command. Pure."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.lab.cluster.control_plane import flags, inside
from tests.lab.cluster.layout import CGROUP, Layout
from tests.lab.cluster.pki import AUTHORITY
from tests.lab.cluster.plan import Node, Plan
from tests.lab.daemons import Daemon

Document = dict[str, Any]

DOCUMENT: Final = "boot.json"
RUNTIME: Final = "unix:///run/containerd/containerd.sock"
CTR: Final = ("ctr", "--namespace", "k8s.io")
_PLUGINS = "/usr/lib/cni"  # where Debian has them
_GIB_KIB = 1 << 20

# What kubelet sets on the whole machine where it finds something else: it is shown that all is well.
# https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables
_TUNED: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def daemon(layout: Layout, node: Node) -> Daemon:
    """The node: the first process of a PID namespace, whose end is the end of everything on it."""
    unshared = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
    init = (sys.executable, "-I", Path(__file__).with_name("inside.py"), layout.node(node.name) / DOCUMENT)
    return Daemon(node.name, inside(node.namespace, *unshared, *init), layout.run)


def document(layout: Layout, plan: Plan, node: Node) -> Document:
    """All of it, as JSON values."""
    disk, etc = layout.node(node.name), layout.node(node.name) / "etc"
    log = {name: str(layout.run / f"{node.name}.{name}.log") for name in ("containerd", "kubelet", "proxy", "gpus")}

    def service(name: str, *command: object) -> Document:
        return {"name": name, "command": [*map(str, command)], "log": log[name]}

    return {
        "name": node.name,
        "cgroup": f"{CGROUP}/{node.name}/system",
        "path": str(layout.bin),
        "binds": {f"{disk}/lib": "/var/lib", f"{disk}/log": "/var/log"},
        "files": {
            f"{etc}/containerd.toml": containerd(f"{etc}/cni"),
            f"{etc}/cni/10-pods.conflist": json.dumps(pod_network(plan, node), indent=1),
            f"{etc}/kubelet.json": json.dumps(kubelet(layout, plan, node), indent=1),
            f"{etc}/proxy.json": json.dumps(proxy(layout), indent=1),
        },
        "shown": {
            **{f"/proc/sys/{path}": f"{value}\n" for path, value in _TUNED.items()},
            "/proc/meminfo": meminfo(node.memory_gib),
        },
        "cpus": node.cpus,
        "runtime": service("containerd", "containerd", "--config", f"{etc}/containerd.toml"),
        "runtime_ready": [*CTR, "version"],
        "services": [
            service("kubelet", "kubelet", *kubelet_flags(layout, node)),
            service("proxy", "kube-proxy", f"--config={etc}/proxy.json", f"--hostname-override={node.name}"),
        ],
        "plugin_socket": "/var/lib/kubelet/device-plugins/kubelet.sock",
        "plugins": [service("gpus", "gpu-plugin", node.gpus, f"{disk}/lost-gpus")],
    }


def meminfo(memory_gib: int) -> str:
    """As much of /proc/meminfo as kubelet reads of a machine's size."""
    return f"MemTotal:       {memory_gib * _GIB_KIB} kB\nSwapTotal:             0 kB\n"


def containerd(network_configuration: str) -> str:
    return f"""\
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true  # to lower it takes CAP_SYS_RESOURCE, without which runc would not start
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_PLUGINS}"
    conf_dir = "{network_configuration}"
"""


def pod_network(plan: Plan, node: Node) -> Document:
    """A wire to each pod, and no bridge: what pods of one node say to each other passes the node's filters too."""
    ranges = [[{"subnet": str(node.pods)}]]
    wire = {
        "type": "ptp",
        "ipMasq": False,
        "mtu": plan.pod_mtu,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [wire]}


def kubelet(layout: Layout, plan: Plan, node: Node) -> Document:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{layout.pki}/{AUTHORITY}.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "address": str(node.address.ip),
        "tlsCertFile": f"{layout.pki}/{node.name}.crt",
        "tlsPrivateKeyFile": f"{layout.pki}/{node.name}.key",
        "containerRuntimeEndpoint": RUNTIME,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}/{node.name}",
        "clusterDNS": [str(plan.dns)],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "failSwapOn": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "registerWithTaints": [_taint(text) for text in node.taints],
        # there is no registry to have an image again from, and memory is the machine's, which others use as well
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "1%"},
    }


def kubelet_flags(layout: Layout, node: Node) -> list[str]:
    return flags(
        {
            "config": layout.node(node.name) / "etc/kubelet.json",
            "kubeconfig": layout.kubeconfig_of(node.name),
            "hostname-override": node.name,
            "node-ip": node.address.ip,
            "node-labels": ",".join(f"{key}={node.labels[key]}" for key in sorted(node.labels)),
        }
    )


def proxy(layout: Layout) -> Document:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig_of("proxy"))},
        "mode": "nftables",
        "detectLocalMode": "InterfaceNamePrefix",
        "detectLocal": {"interfaceNamePrefix": "veth"},  # as the CNI plugin calls its ends
        "conntrack": {"maxPerCore": 0},  # the machine's table stays as it is
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def _taint(text: str) -> Document:
    pair, _, effect = text.partition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}
