"""cloud-init's document for the gateway: packages, files, and the order in which services start."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as resources
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from infra.addressing import POD_BLOCK, AddressPlan
from infra.network.tunnels import ESP_LIFETIME_S, IKE_LIFETIME_S
from infra.storage import barbican

HEALTH_PORT, SSH_PORT = 8081, 22

USER_DATA_LIMIT = 65535
"""Bytes of base64 that Nova takes, from the compute API's reference on `user_data`."""

_HOME = "/usr/local/lib/isthmus"
_PACKAGES = (
    "charon-systemd",
    "frr",
    "libstrongswan-standard-plugins",  # AES-GCM and the elliptic-curve groups
    "nftables",
    "python3",
    "strongswan-swanctl",
    "unattended-upgrades",
)
_OWN_SERVICES = ("isthmus-tunnels", "isthmus-keys", "isthmus-collect", "isthmus-health")
_TEMPLATES = {
    "/etc/apparmor.d/local/usr.sbin.swanctl": "apparmor.j2",
    "/etc/apt/apt.conf.d/52isthmus": "apt.conf.j2",
    "/etc/frr/daemons": "frr-daemons.j2",
    "/etc/frr/frr.conf": "frr.conf.j2",
    "/etc/nftables.conf": "nftables.conf.j2",
    "/etc/strongswan.d/isthmus.conf": "strongswan.conf.j2",
    "/etc/swanctl/conf.d/isthmus.conf": "swanctl.conf.j2",
    "/etc/sysctl.d/90-isthmus.conf": "sysctl.conf.j2",
    "/etc/systemd/system/isthmus-collect.service": "collect.service.j2",
    "/etc/systemd/system/isthmus-health.service": "health.service.j2",
    "/etc/systemd/system/isthmus-keys.service": "keys.service.j2",
    "/etc/systemd/system/isthmus-tunnels.service": "tunnels.service.j2",
    "/etc/systemd/system/strongswan.service.d/isthmus.conf": "strongswan.service.j2",
}
_OWNERS = {"/etc/frr/daemons": "frr:frr", "/etc/frr/frr.conf": "frr:frr"}


@dataclass(frozen=True)
class Appliance:
    """All that the gateway is told."""

    addresses: AddressPlan
    floating_ip: str  # how AWS knows it
    outside: tuple[str, str]  # AWS's ends
    identity_url: str  # of Keystone, with /v3
    credential_id: str
    credential_secret: str = field(repr=False)
    secret_refs: tuple[str, str]  # of Barbican, by tunnel
    admin_networks: tuple[IPv4Network, ...] = ()

    @property
    def tunnels(self) -> list[dict[str, Any]]:
        """What differs between the two, by tunnel. `if_id` joins IPsec's policies to the interface."""
        rows = zip(self.addresses.tunnels, self.outside, strict=True)
        return [
            {
                "name": f"aws-{index}",
                "interface": f"tunnel{index}",
                "if_id": index,
                "outside": outside,
                "aws": str(tunnel.aws),
                "gateway": str(tunnel.gateway),
                "prefix": tunnel.inside.prefixlen,
            }
            for index, (tunnel, outside) in enumerate(rows, 1)
        ]


def user_data(appliance: Appliance) -> str:
    """The cloud-config document, which holds the application credential and so is a secret."""
    written = [
        {
            "path": path,
            "content": content,
            "owner": _OWNERS.get(path, "root:root"),
            "permissions": _mode(path),
            "defer": True,  # until packages have made their users and laid their own files
        }
        for path, content in sorted(files(appliance).items())
    ]
    document = {
        "package_update": True,
        "package_upgrade": True,
        "packages": list(_PACKAGES),
        "ssh_pwauth": False,
        "disable_root": True,
        "write_files": written,
        "runcmd": [
            ["sysctl", "--system"],
            ["systemctl", "daemon-reload"],
            ["systemctl", "try-reload-or-restart", "apparmor.service"],
            ["systemctl", "enable", "nftables", *_OWN_SERVICES, "strongswan", "frr"],
            ["systemctl", "restart", "nftables", "isthmus-tunnels"],
            # keys may be a while in coming, and the rest of the start does not wait for them
            ["systemctl", "restart", "--no-block", "isthmus-keys", "strongswan"],
            ["systemctl", "restart", "frr", "isthmus-collect", "isthmus-health"],
        ],
    }
    return f"#cloud-config\n{yaml.safe_dump(document, sort_keys=False, width=10_000)}"


def files(appliance: Appliance) -> Mapping[str, str]:
    """Every file of ours on the gateway, by path."""
    facts = {
        "addresses": appliance.addresses,
        "appliance": appliance,
        "tunnels": appliance.tunnels,
        "admin_networks": list(collapse_addresses(appliance.admin_networks)),  # nftables takes no overlap
        "fetch": f"{_HOME}/{barbican.SCRIPT}",
        "home": _HOME,
        "health_port": HEALTH_PORT,
        "ssh_port": SSH_PORT,
        "pod_block": POD_BLOCK,
        # a twelfth earlier than AWS, with strongSwan's own margin within
        "ike_rekey_s": IKE_LIFETIME_S * 11 // 12,
        "esp_rekey_s": ESP_LIFETIME_S * 11 // 12,
    }
    return {
        **{path: _environment().get_template(name).render(facts) for path, name in _TEMPLATES.items()},
        f"{_HOME}/{barbican.SCRIPT}": barbican.script(),
        f"{_HOME}/health.py": (resources(__package__) / "health.py").read_text(encoding="utf-8"),
        "/etc/isthmus/keys.json": _keys(appliance),
        "/etc/isthmus/health.json": json.dumps(_health(appliance), indent=1) + "\n",
    }


def _keys(appliance: Appliance) -> str:
    """Settings of what fetches the tunnels' keys, into strongSwan's section with both ends' identities for each."""
    reader = barbican.Reader(appliance.identity_url, appliance.credential_id, appliance.credential_secret)
    refs = {tunnel["interface"]: ref for tunnel, ref in zip(appliance.tunnels, appliance.secret_refs, strict=True)}
    template = (
        _environment()
        .get_template("secrets.conf.j2")
        .render(tunnels=appliance.tunnels, floating_ip=appliance.floating_ip)
    )
    return barbican.settings(reader, refs, barbican.PRE_SHARED_KEY, template)


def _health(appliance: Appliance) -> dict[str, Any]:
    return {"port": HEALTH_PORT, "tunnels": {tunnel["name"]: tunnel["aws"] for tunnel in appliance.tunnels}}


def _mode(path: str) -> str:
    if path == "/etc/isthmus/keys.json":
        return "0600"
    if path in _OWNERS:
        return "0640"
    return "0755" if path.startswith(_HOME) else "0644"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("infra.network.appliance", ""),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - configuration files, not pages
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
