"""What a cloud stack costs in a month, from its values: before anything is there."""

from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.cloud_settings import AwsSettings, OpenStackSettings, ServingSettings
from infra.operations.prices import Prices, load_prices
from infra.operations.pricing import Bill, Estimate
from infra.settings import Settings
from workloads.spec.errors import UserError

_ENDPOINTS: Final = 14
"""Interface endpoints of the VPC, in each zone: as many as `infra.network.endpoints.INTERFACES` names."""
_TUNNEL_ADDRESSES: Final = 2  # of a VPN connection, on AWS's side


def estimate(settings: Settings, prices: Prices | None = None, *, largest: bool = False) -> Estimate:
    """The bill at the sizes that the stack wants, or with `largest` at the most that its pools may grow to.

    Raises:
        UserError: the stack has no clouds, and costs nothing.
    """
    if settings.cloud is None:
        raise UserError("this stack runs on this machine alone and costs nothing; name one with clouds: --stack dev")
    site, values = settings.aws_site
    other, project = settings.openstack_site
    bill = Bill(prices or load_prices(), values.region)
    _network(bill, site.name, values)
    _cluster(bill, site.name, values, largest=largest)
    _door(bill, site.name, values.zones, settings.cloud.serving)
    _project(bill, other.name, project)
    _stores(bill, site.name, replicated=settings.cloud.storage.replica_region is not None)
    return bill.done()


def _network(bill: Bill, site: str, values: AwsSettings) -> None:
    gateways = {"none": 0, "one": 1, "zone": values.zones}[values.nat]
    bill.service(site, "NAT gateways", "nat_hour", gateways)
    bill.service(site, "public addresses", "public_ipv4_hour", gateways + _TUNNEL_ADDRESSES)
    if gateways:
        bill.traffic(site, "traffic through NAT", "nat_gb")
    if values.interface_endpoints:
        bill.service(site, "interface endpoints", "endpoint_hour", _ENDPOINTS * values.zones)
    bill.service(site, "transit gateway attachments", "transit_attachment_hour", 2)
    bill.service(site, "VPN connection", "vpn_connection_hour", 1)
    bill.traffic(site, "traffic into the transit gateway", "transit_gb")
    bill.traffic(site, "traffic to the other site", "internet_gb")


def _cluster(bill: Bill, site: str, values: AwsSettings, *, largest: bool) -> None:
    bill.service(site, "EKS cluster", "eks_cluster_hour", 1)
    system = values.system
    bill.machines(site, system.instance_type, system.nodes.max if largest else system.nodes.desired)
    for pool in values.gpu_pools:
        count = pool.nodes.max if largest else pool.nodes.desired
        bill.machines(site, pool.instance_type, count, pool.capacity)
        bill.service(site, f"volumes of {pool.name}", "gp3_gib_month", pool.volume_gib * count)


def _door(bill: Bill, site: str, zones: int, serving: ServingSettings) -> None:
    """Of AWS; the operator's load balancer is the operator's own."""
    if not serving.load_balancer:
        return
    bill.service(site, "network load balancer", "nlb_hour", 1)
    bill.traffic(site, "traffic through the load balancer", "nlb_gb")
    if serving.access is not None:  # it faces the internet, with an address in each zone
        bill.service(site, "public addresses of the load balancer", "public_ipv4_hour", zones)


def _project(bill: Bill, site: str, project: OpenStackSettings) -> None:
    bill.operators(site, f"gateway, flavor {project.gateway.flavor}", 1, project.gateway.usd_per_hour)
    for servers in project.gpu_servers:
        bill.operators(site, f"{servers.name}, flavor {servers.flavor}", servers.count, servers.usd_per_hour)
        bill.service(site, f"hybrid nodes {servers.name}, vCPUs", "hybrid_vcpu_hour", servers.vcpus * servers.count)


def _stores(bill: Bill, site: str, *, replicated: bool) -> None:
    bill.service(site, "keys", "kms_key_month", 4 if replicated else 2)  # of the cluster and of the artefacts
    bill.service(site, "artefacts, up to 1 TiB", "s3_gib_month", 1024 * (2 if replicated else 1), least=0)


def cost_report(settings: Settings, stack: str) -> Group:
    """Tables of the bill. Raises `UserError` for a local stack."""
    now, most = estimate(settings), estimate(settings, largest=True)
    budget = settings.of_cloud.monthly_budget_usd
    table = Table("site", "item", box=None, padding=(0, 2, 0, 0))
    for column in ("count", "USD a month"):
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    for line in now.lines:
        table.add_row(line.component, line.item, f"{line.count:g}", money(line.low, line.high), line.note)
    sums = [
        Text(f"\n{stack}: {money(now.low, now.high)} USD a month at the wanted sizes", style="bold"),
        Text(f"with every pool at its largest: {money(most.low, most.high)}"),
        Text(f"budget: {budget:,}", style="red" if now.high > budget else ""),
    ]
    if now.unpriced:
        sums.append(Text(f"not in the price table, and not counted: {', '.join(now.unpriced)}", style="yellow"))
    return Group(table, *sums)


def money(low: float, high: float) -> str:
    """A sum or a range in whole dollars."""
    return f"{high:,.0f}" if round(low) == round(high) else f"{low:,.0f} to {high:,.0f}"
