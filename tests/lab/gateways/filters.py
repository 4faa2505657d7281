"""The lab's own packet filters: they count, play the floating IP, and lose what a test wants lost. Not the gateway's."""

import json
from pathlib import Path

from tests.lab.gateways.namespaces import Network


def load(network: Network, text: str, folder: Path) -> None:
    path = folder / f"{network.name}.nft"
    path.write_text(text, encoding="utf-8")
    network.run("nft", "-f", path)


def counters(network: Network) -> dict[str, int]:
    """Packets by named counter."""
    said = json.loads(network.run("nft", "-j", "list", "counters", quiet=True).stdout)["nftables"]
    return {row["counter"]["name"]: row["counter"]["packets"] for row in said if "counter" in row}


# data: what BGP and IKE say once a tunnel stands is shorter
OUTSIDE = """
table ip lab {{
  counter largest {{ }}
  counter larger {{ }}
  counter data_1 {{ }}
  counter data_2 {{ }}
  counter lost_data {{ }}
  set lost {{ type ipv4_addr; }}
  chain before {{
    type nat hook prerouting priority dstnat;
    ip daddr {floating} dnat to {gateway}
  }}
  chain after {{
    type nat hook postrouting priority srcnat;
    ip saddr {gateway} snat to {floating}
  }}
  chain between {{
    type filter hook forward priority filter;
    ip daddr @lost udp dport 4500 ip length > 150 counter name lost_data
    ip saddr @lost udp sport 4500 ip length > 150 counter name lost_data
    ip saddr @lost drop
    ip daddr @lost drop
    ip length {largest} counter name largest
    ip length > {mtu} counter name larger
    ip daddr {first} udp dport 4500 ip length > 150 counter name data_1
    ip daddr {second} udp dport 4500 ip length > 150 counter name data_2
  }}
}}
"""
ENDS = """
table ip lab {{
  counter clamped {{ }}
  counter not_clamped {{ }}
  chain arriving {{
    type filter hook input priority filter;
    tcp dport {port} tcp flags & (syn | ack) == syn tcp option maxseg size {clamped} counter name clamped
    tcp dport {port} tcp flags & (syn | ack) == syn tcp option maxseg size > {clamped} counter name not_clamped
    tcp sport {port} tcp flags & (syn | ack) == syn | ack tcp option maxseg size {clamped} counter name clamped
    tcp sport {port} tcp flags & (syn | ack) == syn | ack tcp option maxseg size > {clamped} counter name not_clamped
  }}
}}
"""
