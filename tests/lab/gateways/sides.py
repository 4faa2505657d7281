"""Both ends of the link: the gateway from its own document, and a stand-in for AWS's two ends."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from infra.network.appliance import Appliance
from infra.network.tunnels import ESP_LIFETIME_S, GCM, IKE_LIFETIME_S
from tests.lab.gateways.namespaces import Annex, Machine, Network, hand_over
from tests.lab.gateways.vault import KEYS

GROUPS = {20: "ecp384", 21: "ecp521"}
_FRR_ID, _FRRVTY_ID = 990, 991


@dataclass(frozen=True)
class Side:
    """A machine with FRR, and beside it one network with one strongSwan for each tunnel."""

    machine: Machine
    ends: tuple[Annex, Annex]

    def swanctl(self, tunnel: int, *arguments: str, check: bool = True) -> str:
        uri = f"unix:///run/charon-{tunnel}.vici"
        return self.machine.run("/usr/sbin/swanctl", *arguments, "--uri", uri, check=check, quiet=True).stdout

    def established(self, tunnel: int) -> bool:
        said = self.swanctl(tunnel, "--list-sas", check=False)
        return f"aws-{tunnel}: #" in said and "ESTABLISHED, IKEv2" in said and "INSTALLED, TUNNEL-in-UDP" in said

    def vtysh(self, command: str) -> Mapping:
        return json.loads(self.machine.run("vtysh", "-c", f"{command} json", quiet=True).stdout or "{}")

    def association(self, tunnel: int) -> str:
        """The number of a tunnel's IKE association, which a new one does not share."""
        return "".join(
            re.findall(rf"^aws-{tunnel}: (#\d+), ESTABLISHED", self.swanctl(tunnel, "--list-sas"), re.MULTILINE)
        )

    def told(self, neighbour: str) -> set[str]:
        """The networks that a neighbour has told and that are in use."""
        routes = self.vtysh("show bgp ipv4 unicast")["routes"]
        return {
            network
            for network, paths in routes.items()
            if any(path.get("valid") and neighbour in {hop["ip"] for hop in path["nexthops"]} for path in paths)
        }

    def neighbours(self) -> dict[str, str]:
        """BGP's state by neighbour."""
        peers = self.vtysh("show bgp ipv4 unicast summary").get("peers", {})
        return {address: row["state"] for address, row in peers.items()}

    def hops(self, network: str) -> set[str]:
        """By which addresses the kernel reaches a network that BGP has told."""
        rows = json.loads(self.machine.run("ip", "-json", "route", "show", network, "proto", "bgp", quiet=True).stdout)
        return {
            hop["gateway"] if "gateway" in hop else hop["dev"] for row in rows for hop in row.get("nexthops", [row])
        }

    def start_ipsec(self) -> None:
        """strongSwan for each tunnel; the device that each reads from becomes the machine's `tunnelN`."""
        journal = self.machine.journal
        for tunnel, end in enumerate(self.ends, 1):
            end.spawn("env", f"STRONGSWAN_CONF=/etc/strongswan-{tunnel}.conf", "/usr/sbin/charon-systemd")
            journal.until(
                f"{end.name} has its device",
                lambda end=end: end.run("ip", "link", "show", "ipsec0", check=False, quiet=True).returncode == 0,
                20,
            )
            hand_over(end, "ipsec0", self.machine, f"tunnel{tunnel}")
            # libipsec insists on a route to it, where nobody looks (routing_table_prio)
            end.ip("tuntap", "add", "dev", "ipsec0", "mode", "tun")
            end.ip("link", "set", "ipsec0", "up")

    def load_ipsec(self) -> None:
        """What the unit does when strongSwan is up: `swanctl --load-all`, each with the tunnel that is its own."""
        journal = self.machine.journal
        for tunnel in (1, 2):
            command = ("/usr/sbin/swanctl", "--load-all", "--noprompt", "--file", f"/etc/swanctl/only-{tunnel}.conf")
            uri = ("--uri", f"unix:///run/charon-{tunnel}.vici")
            journal.until(
                f"strongSwan {tunnel} of {self.machine.name} has taken its file",
                lambda command=(*command, *uri): self.machine.run(*command, check=False, quiet=True).returncode == 0,
                20,
            )


def write_gateway(appliance: Appliance, document: str, layer: Path, logs: Path) -> None:
    """Lay the files of the cloud-config where it says, owned and readable as it says."""
    (layer / "usr/local/sbin").mkdir(parents=True)
    _users(layer / "etc")
    for file in yaml.safe_load(document)["write_files"]:
        path = layer / file["path"].lstrip("/")
        _write(path, file["content"])
        path.chmod(int(file["permissions"], 8))
        if file["owner"] == "frr:frr":
            os.chown(path, _FRR_ID, _FRR_ID)
    _write_ipsec(layer, logs / "gateway", [tunnel["name"] for tunnel in appliance.tunnels])
    both = layer / "usr/local/sbin/swanctl"
    _write(both, '#!/bin/sh\nfor end in 1 2; do /usr/sbin/swanctl "$@" --uri "unix:///run/charon-$end.vici"; done\n')
    both.chmod(0o755)


def write_aws(appliance: Appliance, layer: Path, logs: Path) -> None:
    """AWS's part as its guide describes it: the same suite, the first host of each inside network, BGP, both ECMP."""
    _users(layer / "etc")
    (layer / "usr").mkdir(parents=True, exist_ok=True)
    hashes = [name.replace("SHA2-", "prfsha") for name in GCM.integrity]
    groups = [GROUPS[group] for group in GCM.groups]
    ike = ",".join(f"aes256gcm16-{prf}-{group}" for prf, group in zip(hashes, groups, strict=True))
    esp = ",".join(f"aes256gcm16-{group}" for group in groups)
    sections = [
        _aws_tunnel(tunnel, appliance.floating_ip, ike, esp, key)
        for tunnel, key in zip(appliance.tunnels, KEYS.values(), strict=True)
    ]
    _write(layer / "etc/swanctl/conf.d/aws.conf", "".join(sections))
    _write_ipsec(layer, logs / "aws", [tunnel["name"] for tunnel in appliance.tunnels])
    plan = appliance.addresses
    told = [line for tunnel in appliance.tunnels for line in _aws_neighbour(tunnel["gateway"], plan.openstack.asn)]
    lines = [
        "frr defaults traditional",
        f"router bgp {plan.aws.asn}",
        f" bgp router-id {appliance.tunnels[0]['aws']}",
        " no bgp ebgp-requires-policy",
        " timers bgp 10 30",
        *told,
        " address-family ipv4 unicast",
        f"  network {plan.aws.vpc}",
        "  maximum-paths 2",
        " exit-address-family",
    ]
    write_frr(layer, lines)


def write_frr(layer: Path, lines: Sequence[str]) -> None:
    """FRR with BGP and nothing else."""
    (layer / "usr").mkdir(parents=True, exist_ok=True)
    _users(layer / "etc")
    _write(
        layer / "etc/frr/daemons",
        'bgpd=yes\nvtysh_enable=yes\nzebra_options="-A 127.0.0.1"\nbgpd_options="-A 127.0.0.1"\n',
    )
    _write(layer / "etc/frr/frr.conf", "\n".join(lines) + "\n")


def plug(end: Network, address: str, router: str) -> None:
    """An address towards the outside, and the way out."""
    end.ip("address", "add", address, "dev", "outside")
    end.ip("route", "add", "default", "via", router, "dev", "outside")


def _aws_tunnel(tunnel: Mapping, floating_ip: str, ike: str, esp: str, key: str) -> str:
    name, outside = tunnel["name"], tunnel["outside"]
    return f"""
connections {{
  {name} {{
    version = 2
    local_addrs = {outside}
    remote_addrs = {floating_ip}
    proposals = {ike}
    encap = yes
    mobike = no
    unique = replace
    keyingtries = 0
    dpd_delay = 10s
    rekey_time = {IKE_LIFETIME_S}s
    local {{
      auth = psk
      id = {outside}
    }}
    remote {{
      auth = psk
      id = {floating_ip}
    }}
    children {{
      {name} {{
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0
        esp_proposals = {esp}
        rekey_time = {ESP_LIFETIME_S}s
        start_action = start
        close_action = start
        dpd_action = restart
      }}
    }}
  }}
}}
secrets {{
  ike-{name} {{
    id-1 = {floating_ip}
    id-2 = {outside}
    secret = "{key}"
  }}
}}
"""


def _aws_neighbour(gateway: str, asn: int) -> list[str]:
    return [f" neighbor {gateway} remote-as {asn}", f" neighbor {gateway} timers connect 10"]


def _write_ipsec(layer: Path, logs: Path, names: Sequence[str]) -> None:
    """What makes two strongSwans of one, each with libipsec in the place of the kernel's IPsec."""
    logs.mkdir(parents=True, exist_ok=True)
    for number, _ in enumerate(names, 1):
        log = logs / f"charon-{number}.log"
        _write(
            layer / f"etc/strongswan-{number}.conf",
            "include strongswan.conf\n"
            "charon {\n  routing_table_prio = 40000\n"
            "  plugins {\n    kernel-libipsec {\n      load = 100\n      allow_peer_ts = yes\n    }\n  }\n}\n"
            f"charon-systemd {{\n  plugins {{\n    vici {{\n      socket = unix:///run/charon-{number}.vici\n    }}\n  }}\n"
            f"  filelog {{\n    lab {{\n      path = {log}\n      flush_line = yes\n      time_format = %T\n    }}\n  }}\n}}\n",
        )
        others = [
            f"  {other} {{\n    children {{\n      {other} {{\n        start_action = none\n      }}\n    }}\n  }}\n"
            for other in names
            if other != names[number - 1]
        ]
        _write(
            layer / f"etc/swanctl/only-{number}.conf",
            f"include conf.d/*.conf\nconnections {{\n{''.join(others)}}}\n",
        )


def _users(etc: Path) -> None:
    """The users and groups that Debian's package makes."""
    etc.mkdir(parents=True, exist_ok=True)
    for name, line in (
        ("passwd", f"frr:x:{_FRR_ID}:{_FRR_ID}::/nonexistent:/usr/sbin/nologin\n"),
        ("group", f"frr:x:{_FRR_ID}:\nfrrvty:x:{_FRRVTY_ID}:frr\n"),
    ):
        theirs = (Path("/etc") / name).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in theirs if not row.startswith(("frr:", "frrvty:"))]
        (etc / name).write_text("".join(kept) + line, encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
