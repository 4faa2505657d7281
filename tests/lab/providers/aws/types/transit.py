"""EC2: the transit gateway, and who reaches whom by its table."""

from collections.abc import Mapping
from typing import Any, Final

from tests.lab.providers.aws.spec import Make, Op, Step, Type, Work, arn
from tests.lab.providers.aws.types.network import described, ec2_tags

_OF_GATEWAY: Final = (
    "amazonSideAsn",
    "autoAcceptSharedAttachments",
    "defaultRouteTableAssociation",
    "defaultRouteTablePropagation",
    "dnsSupport",
    "vpnEcmpSupport",
)


def _options(names: tuple[str, ...]) -> Mapping[str, Any]:
    """Inputs that stand in the argument `Options`."""
    return {"Options": {f"{name[:1].upper()}{name[1:]}": f"${name}" for name in names}}


def _told(names: tuple[str, ...]) -> dict[str, str | Step]:
    return {name: f"Options.{name[:1].upper()}{name[1:]}" for name in names}


def _numbered(operation: str) -> Step:
    """The AS number is a word to Pulumi and a number to EC2."""

    def make(work: Work) -> Any:
        options = {name: work.new[name] for name in _OF_GATEWAY if name in work.new}
        return Make(operation, work.api(operation, {"options": options}), "TransitGateway.TransitGatewayId")(work)

    return make


TRANSIT_GATEWAY = Type(
    "aws:ec2transitgateway/transitGateway:TransitGateway",
    "ec2",
    create=_numbered("create_transit_gateway"),
    read=described("describe_transit_gateways", "TransitGatewayIds", "TransitGateways"),
    delete=Op("delete_transit_gateway", {"TransitGatewayId": "$id"}),
    elsewhere=frozenset(_OF_GATEWAY),
    changes={"description": Op("modify_transit_gateway", {"TransitGatewayId": "$id", "Description": "$description"})},
    tells=_told(_OF_GATEWAY),
    tagging=ec2_tags("transit-gateway"),
    outputs={
        "arn": "TransitGatewayArn",
        "ownerId": "OwnerId",
        "associationDefaultRouteTableId": "Options.AssociationDefaultRouteTableId",
        "propagationDefaultRouteTableId": "Options.PropagationDefaultRouteTableId",
    },
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

VPC_ATTACHMENT = Type(
    "aws:ec2transitgateway/vpcAttachment:VpcAttachment",
    "ec2",
    create=Make(
        "create_transit_gateway_vpc_attachment",
        _options(("dnsSupport",)),
        "TransitGatewayVpcAttachment.TransitGatewayAttachmentId",
    ),
    read=described(
        "describe_transit_gateway_vpc_attachments", "TransitGatewayAttachmentIds", "TransitGatewayVpcAttachments"
    ),
    delete=Op("delete_transit_gateway_vpc_attachment", {"TransitGatewayAttachmentId": "$id"}),
    elsewhere=frozenset({"dnsSupport"}),
    # whether the gateway's default tables take it, which this gateway has none of
    local=frozenset({"transitGatewayDefaultRouteTableAssociation", "transitGatewayDefaultRouteTablePropagation"}),
    tells=_told(("dnsSupport",)),
    tagging=ec2_tags("transit-gateway-attachment"),
    outputs={"arn": arn("ec2", "transit-gateway-attachment/$id"), "vpcOwnerId": "VpcOwnerId"},
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

ROUTE_TABLE = Type(
    "aws:ec2transitgateway/routeTable:RouteTable",
    "ec2",
    create=Make("create_transit_gateway_route_table", result="TransitGatewayRouteTable.TransitGatewayRouteTableId"),
    read=described("describe_transit_gateway_route_tables", "TransitGatewayRouteTableIds", "TransitGatewayRouteTables"),
    delete=Op("delete_transit_gateway_route_table", {"TransitGatewayRouteTableId": "$id"}),
    tagging=ec2_tags("transit-gateway-route-table"),
    outputs={"arn": arn("ec2", "transit-gateway-route-table/$id")},
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

_BOTH = {
    "TransitGatewayRouteTableId": "$transitGatewayRouteTableId",
    "TransitGatewayAttachmentId": "$transitGatewayAttachmentId",
}


def _tie(token: str, tie: str, untie: str, listed: str, rows: str) -> Type:
    """A table and an attachment tied by one operation and untied by another."""

    def tied(work: Work) -> str:
        Op(tie, _BOTH)(work)
        return f"{work.new['transitGatewayRouteTableId']}_{work.new['transitGatewayAttachmentId']}"

    def found(work: Work) -> Any:
        path = f"{rows}[?TransitGatewayAttachmentId=='{work.new['transitGatewayAttachmentId']}'] | [0]"
        return Op(listed, {"TransitGatewayRouteTableId": "$transitGatewayRouteTableId"}, path)(work)

    return Type(
        token,
        "ec2",
        create=tied,
        read=found,
        delete=Op(untie, _BOTH),
        outputs={"resourceId": "ResourceId", "resourceType": "ResourceType"},
        unique=("transitGatewayAttachmentId",),
        gone=frozenset({"disassociated", "disabled"}),
        ready=("State", frozenset({"associated", "enabled"})),
    )


ASSOCIATION = _tie(
    "aws:ec2transitgateway/routeTableAssociation:RouteTableAssociation",
    "associate_transit_gateway_route_table",
    "disassociate_transit_gateway_route_table",
    "get_transit_gateway_route_table_associations",
    "Associations",
)
PROPAGATION = _tie(
    "aws:ec2transitgateway/routeTablePropagation:RouteTablePropagation",
    "enable_transit_gateway_route_table_propagation",
    "disable_transit_gateway_route_table_propagation",
    "get_transit_gateway_route_table_propagations",
    "TransitGatewayRouteTablePropagations",
)

TYPES: Final = (
    TRANSIT_GATEWAY,
    VPC_ATTACHMENT,
    ROUTE_TABLE,
    ASSOCIATION,
    PROPAGATION,
)
