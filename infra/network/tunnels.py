"""How the two tunnels are cut, for both of their ends. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.addressing import AddressPlan
from workloads.spec.errors import UserError

TUNNELS = (1, 2)
USED: Mapping[str, int] = {"gateway": 2, "vpnaas": 1}
"""How many of them carry the link, by what ends it."""

STANDARD_MBPS, LARGE_MBPS = 1250, 5000
"""Of one tunnel, from the Site-to-Site VPN quotas; large ones end at a transit gateway only."""

IKE_LIFETIME_S, ESP_LIFETIME_S = 28800, 3600
"""Of AWS's end, its longest; the gateway renews earlier, so that AWS never has to."""

DPD_S = 30  # the shortest that AWS takes


@dataclass(frozen=True)
class Suite:
    """Algorithms that both ends propose, and no others."""

    encryption: str  # as EC2's VpnTunnelOptionsSpecification names it
    integrity: tuple[str, ...]
    groups: tuple[int, ...]


GCM = Suite("AES256-GCM-16", ("SHA2-384", "SHA2-512"), (20, 21))
CBC = Suite("AES256", ("SHA2-512",), (14,))
"""The strongest that every Neutron VPNaaS since 2016 takes."""


def options(
    tunnel: int, addresses: AddressPlan, suite: Suite, log_options: Mapping[str, Any], *, starts: bool
) -> dict[str, Any]:
    """Arguments of `aws.ec2.VpnConnection` for tunnel 1 or 2. With `starts`, AWS dials as well as it answers."""
    values = {
        "inside_cidr": str(addresses.tunnels[tunnel - 1].inside),
        "ike_versions": ["ikev2"],
        "phase1_encryption_algorithms": [suite.encryption],
        "phase1_integrity_algorithms": list(suite.integrity),
        "phase1_dh_group_numbers": list(suite.groups),
        "phase1_lifetime_seconds": IKE_LIFETIME_S,
        "phase2_encryption_algorithms": [suite.encryption],
        "phase2_integrity_algorithms": list(suite.integrity),
        "phase2_dh_group_numbers": list(suite.groups),
        "phase2_lifetime_seconds": ESP_LIFETIME_S,
        "dpd_timeout_seconds": DPD_S,
        "dpd_timeout_action": "restart" if starts else "clear",
        "startup_action": "start" if starts else "add",
        "log_options": log_options,
    }
    return {f"tunnel{tunnel}_{key}": value for key, value in values.items()}


def bandwidth(rate_mbps: float, used: int) -> str:
    """Which kind of tunnel carries a link of `rate_mbps` over `used` of them.

    A single flow stays in one tunnel, and a round of training has few flows: what one standard tunnel does not carry
    takes large ones.

    Raises:
        UserError: no kind does.
    """
    if rate_mbps > used * LARGE_MBPS:
        raise UserError(
            f"links: rate {rate_mbps:g} Mbit/s is over the {used * LARGE_MBPS} Mbit/s of {used} large VPN "
            f"tunnel{'s' if used > 1 else ''}; set rate: {used * LARGE_MBPS / 1000:g} Gbit/s"
        )
    return "large" if rate_mbps > STANDARD_MBPS else "standard"
