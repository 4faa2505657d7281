"""cloud-init's document of a GPU server: files, and the service that joins it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from infra.cluster.nodes import GPU_TAINT
from infra.storage import barbican

USER_DATA_LIMIT = 65535
"""Bytes of base64 that Nova takes, from the compute API's reference on `user_data`."""

_HOME = "/usr/local/lib/isthmus"
_CONFIG = "/etc/isthmus/node-config.yaml"
_ESCROW = "/etc/isthmus/escrow.json"
_CERTIFICATE, _KEY = "/etc/iam/pki/server.pem", "/etc/iam/pki/server.key"  # where nodeadm looks by itself
_JOINED = "/etc/isthmus/joined"
_NODEADM = "https://hybrid-assets.eks.amazonaws.com/releases/latest/bin"
"""https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-nodeadm.html; AWS supports the latest release alone."""

_SYSCTL = """\
# many watches: a kubelet with hundreds of containers runs out of the default
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
# windows for a link of many Mbit times many ms
net.core.rmem_max = 67108864
net.core.wmem_max = 67108864
net.ipv4.tcp_rmem = 4096 131072 67108864
net.ipv4.tcp_wmem = 4096 65536 67108864
net.ipv4.tcp_slow_start_after_idle = 0
# where somebody drops the ICMP that tells of a narrower path
net.ipv4.tcp_mtu_probing = 1
"""
_NFTABLES = """\
# what the metadata service tells is for root: neither a pod nor another user of this server gets an answer
table inet isthmus_metadata
delete table inet isthmus_metadata
table inet isthmus_metadata {
  chain forward {
    type filter hook forward priority -10;
    ip daddr 169.254.169.254 drop
  }
  chain output {
    type filter hook output priority -10;
    ip daddr 169.254.169.254 meta skuid != 0 drop
  }
}
"""
_METADATA_SERVICE = """\
[Unit]
Description=Keep the metadata service to root
Before=kubelet.service isthmus-join.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/isthmus/metadata.nft

[Install]
WantedBy=multi-user.target
"""
_JOIN_SERVICE = f"""\
[Unit]
Description=Join the cluster
Wants=network-online.target
After=network-online.target isthmus-metadata.service
Requires=isthmus-metadata.service
ConditionPathExists=!{_JOINED}
# a link that is still coming up, or down, is no reason to give up
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={_HOME}/join.sh
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Escrow:
    """Where a node's private key lies, and the credential that reads it and nothing else."""

    identity_url: str  # of Keystone, with /v3
    credential_id: str
    credential_secret: str = field(repr=False)
    secret_ref: str  # of Barbican

    @property
    def reader(self) -> barbican.Reader:
        """The credential."""
        return barbican.Reader(self.identity_url, self.credential_id, self.credential_secret)


@dataclass(frozen=True)
class Boot:
    """All that a server is told."""

    cluster: str
    region: str
    version: str
    labels: Mapping[str, str]
    gpus: int
    identity: Mapping[str, Any] = field(repr=False)  # `hybrid.iamRolesAnywhere` or `hybrid.ssm` of NodeConfig
    provider: Literal["iam-ra", "ssm"]
    hostname: str | None = None  # None: the service that gives credentials names the node
    certificate_pem: str | None = None
    escrow: Escrow | None = None
    volume_id: str | None = None


def node_config(boot: Boot) -> dict[str, Any]:
    """Configuration of nodeadm: https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-nodeadm.html."""
    key, value, effect = GPU_TAINT
    labels = ",".join(f"{name}={boot.labels[name]}" for name in sorted(boot.labels))
    section = "iamRolesAnywhere" if boot.provider == "iam-ra" else "ssm"
    return {
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "spec": {
            "cluster": {"name": boot.cluster, "region": boot.region},
            "kubelet": {
                "config": {"shutdownGracePeriod": "60s", "shutdownGracePeriodCriticalPods": "20s"},
                "flags": [f"--node-labels={labels}", f"--register-with-taints={key}={value}:{effect}"],
            },
            "hybrid": {
                "enableCredentialsFile": True,  # for Pod Identity's agent, which finds no instance metadata here
                section: dict(boot.identity),
            },
        },
    }


def files(boot: Boot) -> Mapping[str, str]:
    """Every file of ours on the server, by path."""
    written = {
        _CONFIG: yaml.safe_dump(node_config(boot), sort_keys=True),
        f"{_HOME}/join.sh": _environment()
        .get_template("join.sh.j2")
        .render(
            boot=boot,
            fetch=f"{_HOME}/{barbican.SCRIPT}",
            nodeadm_url=_NODEADM,
            config_path=_CONFIG,
            escrow_path=_ESCROW,
            key_path=_KEY,
            joined_path=_JOINED,
        ),
        "/etc/isthmus/metadata.nft": _NFTABLES,
        "/etc/sysctl.d/90-isthmus.conf": _SYSCTL,
        "/etc/systemd/system/isthmus-join.service": _JOIN_SERVICE,
        "/etc/systemd/system/isthmus-metadata.service": _METADATA_SERVICE,
    }
    if boot.certificate_pem is not None:
        written[_CERTIFICATE] = boot.certificate_pem
    if boot.escrow is not None:
        written[f"{_HOME}/{barbican.SCRIPT}"] = barbican.script()
        written[_ESCROW] = barbican.settings(
            boot.escrow.reader, {"key": boot.escrow.secret_ref}, barbican.PRIVATE_KEY, "${key}"
        )
    return written


def user_data(boot: Boot) -> str:
    """The cloud-config document; the same facts give the same text, since a changed one replaces the server.

    It holds a credential, of the escrow or of the activation, and so is a secret.
    """
    document = {
        **({"hostname": boot.hostname, "preserve_hostname": False} if boot.hostname else {}),
        "package_update": True,
        "packages": ["ca-certificates", "curl", "nftables", "python3"],
        "ssh_pwauth": False,
        "disable_root": True,
        "write_files": [
            {"path": path, "content": content, "owner": "root:root", "permissions": _mode(path)}
            for path, content in sorted(files(boot).items())
        ],
        "runcmd": [
            ["sysctl", "--system"],
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "isthmus-metadata.service", "isthmus-join.service"],
            ["systemctl", "restart", "isthmus-metadata.service"],
            # it may take its time; the rest of the start does not wait
            ["systemctl", "restart", "--no-block", "isthmus-join.service"],
        ],
    }
    return f"#cloud-config\n{yaml.safe_dump(document, sort_keys=False, width=10_000)}"


def _mode(path: str) -> str:
    if path in {_ESCROW, _CONFIG}:
        return "0600"
    return "0755" if path.endswith(".sh") else "0644"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("infra.cluster.boot", ""),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - a script, not a page
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
