"""What declared resources cost in a month: for the policy pack, and for the difference that a change makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.operations.prices import Prices, Service
from infra.operations.pricing import Bill, Estimate
from infra.settings import Settings

Priced = tuple[str, Mapping[str, Any]]
"""A resource's type and its properties, in the engine's names."""

_FLAT: Final[Mapping[str, tuple[str, Service]]] = {
    "aws:ec2/eip:Eip": ("public addresses", "public_ipv4_hour"),
    "aws:ec2/natGateway:NatGateway": ("NAT gateways", "nat_hour"),
    "aws:ec2transitgateway/vpcAttachment:VpcAttachment": ("transit gateway attachments", "transit_attachment_hour"),
    "aws:eks/cluster:Cluster": ("EKS cluster", "eks_cluster_hour"),
    "aws:kms/key:Key": ("keys", "kms_key_month"),
    "aws:kms/replicaKey:ReplicaKey": ("keys", "kms_key_month"),
    "aws:secretsmanager/secret:Secret": ("secrets", "secret_month"),
}
_CAPACITY: Final = {"SPOT": "spot", "CAPACITY_BLOCK": "capacity-block"}


@dataclass(frozen=True)
class Flavor:
    """What an operator asks for a server of a flavor, and how many vCPUs EKS counts of it as a hybrid node."""

    usd_per_hour: float | None = None
    hybrid_vcpus: int = 0


def flavors_of(settings: Settings) -> dict[str, Flavor]:
    """What the stack's values say of its operator's flavors."""
    _, project = settings.openstack_site
    gateway = {project.gateway.flavor: Flavor(project.gateway.usd_per_hour)}
    return gateway | {servers.flavor: Flavor(servers.usd_per_hour, servers.vcpus) for servers in project.gpu_servers}


def estimate_resources(
    resources: Sequence[Priced], prices: Prices, flavors: Mapping[str, Flavor] | None = None
) -> Estimate:
    """The bill of what has a price by the hour or month. Traffic is left to the estimate from a stack's values."""
    regions = [props.get("region") for kind, props in resources if kind == "pulumi:providers:aws"]
    region = next((region for region in regions if isinstance(region, str)), prices.reference_region)
    bill = Bill(prices, region)
    templates = [props for kind, props in resources if kind == "aws:ec2/launchTemplate:LaunchTemplate"]
    for kind, props in resources:
        if kind in _FLAT:
            item, service = _FLAT[kind]
            bill.service("aws", item, service, 1)
        elif kind == "aws:ec2/vpnConnection:VpnConnection":
            bill.service("aws", "VPN connection", "vpn_connection_hour", 1)
            bill.service("aws", "transit gateway attachments", "transit_attachment_hour", 1)
            bill.service("aws", "public addresses", "public_ipv4_hour", 2)
        elif kind == "aws:ec2/vpcEndpoint:VpcEndpoint" and props.get("vpcEndpointType") == "Interface":
            subnets = props.get("subnetIds")
            bill.service(
                "aws", "interface endpoints", "endpoint_hour", len(subnets) if isinstance(subnets, list) else 1
            )
        elif kind == "aws:ebs/volume:Volume":
            bill.service("aws", "volumes", "gp3_gib_month", _number(props.get("size")))
        elif kind == "aws:ec2/instance:Instance":
            bill.machines("aws", str(props.get("instanceType")), 1)
        elif kind == "aws:eks/nodeGroup:NodeGroup":
            _node_group(bill, props, templates)
        elif kind == "kubernetes:core/v1:Service" and _is_balanced(props):
            bill.service("aws", "network load balancer", "nlb_hour", 1)
        elif kind == "openstack:compute/instance:Instance":
            _server(bill, props, flavors or {})
    return bill.done()


def _node_group(bill: Bill, props: Mapping[str, Any], templates: Sequence[Mapping[str, Any]]) -> None:
    scaling = props.get("scalingConfig")
    count = _number(scaling.get("desiredSize")) if isinstance(scaling, Mapping) else 1
    template = _template(props, templates)
    given = props.get("instanceTypes")
    kinds = [str(kind) for kind in given] if isinstance(given, list) and given else [str(template.get("instanceType"))]
    market = template.get("instanceMarketOptions")
    block = isinstance(market, Mapping) and market.get("marketType") == "capacity-block"
    capacity = "capacity-block" if block else _CAPACITY.get(str(props.get("capacityType")), "on-demand")
    bill.machines("aws", kinds[0], count, capacity)
    for device in template.get("blockDeviceMappings") or []:
        size = device.get("ebs", {}).get("volumeSize") if isinstance(device, Mapping) else None
        bill.service("aws", "volumes", "gp3_gib_month", _number(size) * count)


def _is_balanced(service: Mapping[str, Any]) -> bool:
    """Whether AWS's controller makes a load balancer for it: the operator's are resources of their own."""
    spec = service.get("spec")
    return isinstance(spec, Mapping) and spec.get("type") == "LoadBalancer"


def _template(props: Mapping[str, Any], templates: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The node group's template by its id, else by its name, which a preview knows."""
    wanted = props.get("launchTemplate")
    keys = set(wanted.values()) if isinstance(wanted, Mapping) and _hashable(wanted) else set()
    for template in templates:
        if {template.get("id"), template.get("name")} & (keys - {None}) or (
            template.get("name") is not None and template.get("name") == props.get("nodeGroupName")
        ):
            return template
    return {}


def _hashable(values: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in values.values())


def _server(bill: Bill, props: Mapping[str, Any], flavors: Mapping[str, Flavor]) -> None:
    name = str(props.get("flavorName"))
    flavor = flavors.get(name, Flavor())
    bill.operators("openstack", f"servers of flavor {name}", 1, flavor.usd_per_hour)
    bill.service("openstack", "hybrid nodes, vCPUs", "hybrid_vcpu_hour", flavor.hybrid_vcpus)


def _number(value: Any) -> float:
    """A number as the engine gives it, none where it is not known before the update."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
