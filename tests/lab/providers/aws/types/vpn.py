"""EC2: the VPN that ends at a transit gateway, and what AWS draws for its tunnels."""

import hashlib
import ipaddress
from typing import Any, Final

from tests.lab.providers.aws.shapes import to_api
from tests.lab.providers.aws.spec import Make, Op, Step, Type, Work, arn, search
from tests.lab.providers.aws.types.network import described, ec2_tags

CUSTOMER_GATEWAY = Type(
    "aws:ec2/customerGateway:CustomerGateway",
    "ec2",
    create=Make("create_customer_gateway", result="CustomerGateway.CustomerGatewayId"),
    read=described("describe_customer_gateways", "CustomerGatewayIds", "CustomerGateways"),
    delete=Op("delete_customer_gateway", {"CustomerGatewayId": "$id"}),
    tagging=ec2_tags("customer-gateway"),
    outputs={"arn": arn("ec2", "customer-gateway/$id")},
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

_TUNNEL_WORDS: Final = {
    "insideCidr": "TunnelInsideCidr",
    "dpdTimeoutAction": "DPDTimeoutAction",
    "dpdTimeoutSeconds": "DPDTimeoutSeconds",
    "phase1DhGroupNumbers": "Phase1DHGroupNumbers",
    "phase2DhGroupNumbers": "Phase2DHGroupNumbers",
    "ikeVersions": "IKEVersions",
}
_OF_CONNECTION: Final = ("staticRoutesOnly", "tunnelBandwidth", "tunnelInsideIpVersion")
_ENDS = ipaddress.IPv4Network("203.0.113.0/24")  # RFC 5737: for documentation, so that nobody is meant
_LISTED = ("ikeVersions", "phase1", "phase2")


def _tunnel(work: Work, number: int) -> dict[str, Any]:
    """Inputs of one tunnel without their prefix; a list of words is one of structures with a value to EC2."""
    prefix = f"tunnel{number}"
    given = {
        f"{key[len(prefix)].lower()}{key[len(prefix) + 1 :]}": value
        for key, value in work.new.items()
        if key.startswith(prefix)
    }
    return {
        key: [{"value": item} for item in value] if isinstance(value, list) and key.startswith(_LISTED) else value
        for key, value in given.items()
    }


def _connected(work: Work) -> Any:
    operation = "create_vpn_connection"
    shape = work.cloud.shape("ec2", operation).members["Options"]
    options = to_api(shape, {key: work.new[key] for key in _OF_CONNECTION if key in work.new}, {})
    tunnels = to_api(shape.members["TunnelOptions"], [_tunnel(work, 1), _tunnel(work, 2)], _TUNNEL_WORDS)
    own = {"type": work.new["type"], **{key: work.new[key] for key in ("customerGatewayId", "transitGatewayId")}}
    arguments = work.api(operation, own)
    arguments |= {"Options": {**options, "TunnelOptions": tunnels}}
    arguments |= ec2_tags("vpn-connection").at_birth(work, operation)
    return search("VpnConnection.VpnConnectionId", work.call(operation, **arguments))


def _ends(number: int) -> dict[str, Step]:
    """What AWS draws for a tunnel. The emulator has one fixed text for every tunnel, so it is drawn here from the id."""

    def digest(work: Work) -> bytes:
        return hashlib.sha256(f"{work.id} {number}".encode()).digest()

    def outside(work: Work) -> str:
        half = (_ENDS.num_addresses - 4) // 2  # one half a tunnel: they never share an address
        return str(_ENDS[2 + (number - 1) * half + digest(work)[0] % half])

    def inside(work: Work, which: int) -> str | None:
        cidr = work.new.get(f"tunnel{number}InsideCidr")
        return str(ipaddress.IPv4Network(cidr)[which]) if cidr else None

    return {
        f"tunnel{number}Address": outside,
        f"tunnel{number}PresharedKey": lambda work: f"lab{digest(work)[1:].hex()[:29]}",
        f"tunnel{number}VgwInsideAddress": lambda work: inside(work, 1),
        f"tunnel{number}CgwInsideAddress": lambda work: inside(work, 2),
        f"tunnel{number}BgpAsn": Op(
            "describe_transit_gateways",
            {"TransitGatewayIds": ["$transitGatewayId"]},
            "TransitGateways[0].Options.AmazonSideAsn.to_string(@)",
        ),
    }


VPN_CONNECTION = Type(
    "aws:ec2/vpnConnection:VpnConnection",
    "ec2",
    create=_connected,
    read=described("describe_vpn_connections", "VpnConnectionIds", "VpnConnections"),
    delete=Op("delete_vpn_connection", {"VpnConnectionId": "$id"}),
    tagging=ec2_tags("vpn-connection"),
    outputs={
        "arn": arn("ec2", "vpn-connection/$id"),
        "transitGatewayAttachmentId": Op(
            "describe_transit_gateway_attachments",
            {"Filters": [{"Name": "resource-id", "Values": ["$id"]}]},
            "TransitGatewayAttachments[?State=='available'].TransitGatewayAttachmentId | [0]",
        ),
        **_ends(1),
        **_ends(2),
    },
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

TYPES: Final = (CUSTOMER_GATEWAY, VPN_CONNECTION)
