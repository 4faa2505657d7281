"""Costs come from the price table, are ranges where usage decides, and change as the stack does."""

import pytest
from rich.console import Console

from infra.cluster.catalogue import CATALOGUE
from infra.network.endpoints import INTERFACES
from infra.operations import cost
from infra.operations.cost import cost_report, estimate
from infra.operations.cost_of_resources import Flavor, estimate_resources, flavors_of
from infra.operations.previewing import cost_difference
from infra.operations.prices import HOURS_A_MONTH, load_prices
from infra.operations.pricing import Bill, difference
from tests.infra.operations.recorded import cloud_change
from tests.kit.cloud import cloud_settings
from tests.kit.program import stack_config
from workloads.spec.errors import UserError

PRICES = load_prices()
NOT_READ = {"p5e.48xlarge"}  # on no page that was read


def lines(found, item):
    return [line for line in found.lines if item in line.item]


def test_every_type_of_the_catalogue_has_a_price_or_is_known_to_have_none():
    assert set(CATALOGUE) - set(PRICES.instances) == NOT_READ


def test_each_figure_has_a_page_and_a_date():
    used = {price.source for table in (PRICES.instances, PRICES.services) for price in table.values()}
    assert used == set(PRICES.sources)
    assert all(source.page.startswith("https://") for source in PRICES.sources.values())


def test_a_price_that_was_read_for_the_region_is_confirmed_and_another_is_scaled_and_is_not():
    assert PRICES.instance("p5.48xlarge", "eu-north-1") == (58.8928, True)
    usd, confirmed = PRICES.instance("g6.xlarge", "eu-central-1")
    assert usd == pytest.approx(0.8048 * 1.2505)
    assert not confirmed
    assert PRICES.instance("x9.huge", "us-east-1") is None


def test_a_region_that_nobody_has_read_is_taken_as_the_dearest_that_was():
    assert PRICES.instance("g6.2xlarge", "sa-east-1")[0] == pytest.approx(0.9776 * 1.2694)


def test_spot_is_a_range_up_to_on_demand():
    spot = estimate(cloud_settings())
    (line,) = lines(spot, "g6.xlarge")
    (fixed,) = lines(estimate(cloud_settings(**{"sites.0.aws.gpu_pools.0.capacity": "on-demand"})), "g6.xlarge")
    assert line.low == pytest.approx(fixed.high * 0.1)
    assert line.high == fixed.low == fixed.high


def test_traffic_is_a_range_from_nothing():
    assert [line.low for line in lines(estimate(cloud_settings()), "traffic")] == [0, 0, 0, 0]


def test_nat_by_zone_costs_a_gateway_a_zone_and_none_costs_none():
    by_zone = lines(estimate(cloud_settings(**{"sites.0.aws.nat": "zone"})), "NAT gateways")
    assert [line.count for line in by_zone] == [2]
    assert lines(estimate(cloud_settings(**{"sites.0.aws.nat": "none"})), "NAT") == []


def test_a_load_balancer_costs_and_one_that_faces_the_internet_costs_its_addresses():
    inside = estimate(cloud_settings(**{"cloud.serving.access": None}))
    assert [line.count for line in lines(inside, "load balancer")] == [1, 1000]
    access = {"issuer": "https://id.example.org", "audiences": ["models"], "jwks": "https://id.example.org/keys"}
    outside = estimate(cloud_settings(**{"cloud.serving.access": access}))
    assert [line.count for line in lines(outside, "load balancer")] == [1, 1000, 2]
    assert lines(estimate(cloud_settings(**{"cloud.serving.load_balancer": False})), "load balancer") == []


def test_the_largest_bill_counts_pools_at_their_most():
    settings = cloud_settings()
    assert estimate(settings, largest=True).high > estimate(settings).high


def test_an_operators_servers_cost_what_the_stack_says_or_nothing_and_it_says_so():
    own = lines(estimate(cloud_settings()), "flavor g1.l4")
    assert [(line.high, line.note) for line in own] == [(0.0, "the operator's own")]
    asked = lines(estimate(cloud_settings(**{"sites.1.openstack.gpu_servers.0.usd_per_hour": 2.0})), "flavor g1.l4")
    assert [(line.high, line.note) for line in asked] == [(2.0 * HOURS_A_MONTH, "")]


def test_endpoints_are_counted_as_the_network_declares_them():
    assert len(INTERFACES) == cost._ENDPOINTS


def test_a_type_without_a_price_is_named_and_not_counted():
    found = estimate(cloud_settings(**{"sites.0.aws.gpu_pools.0.instance_type": "p5e.48xlarge"}))
    assert found.unpriced == ("p5e.48xlarge",)


def test_a_local_stack_costs_nothing_and_is_told_so():
    from infra.operations.stack_files import settings_of  # noqa: PLC0415

    with pytest.raises(UserError, match="costs nothing"):
        estimate(settings_of(stack_config("local"), "local"))


def test_the_report_has_the_sum_the_most_and_the_budget():
    console = Console(width=160, record=True)
    console.print(cost_report(cloud_settings(), "dev"))
    text = console.export_text()
    assert "USD a month at the wanted sizes" in text
    assert "with every pool at its largest" in text
    assert "budget: 4,000" in text


def test_resources_are_priced_by_what_they_are():
    world = [
        ("pulumi:providers:aws", {"region": "us-east-1"}),
        ("aws:eks/cluster:Cluster", {}),
        ("aws:ec2/natGateway:NatGateway", {}),
        ("aws:ec2/vpnConnection:VpnConnection", {}),
        ("aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": "Interface", "subnetIds": ["a", "b"]}),
        ("aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": "Gateway"}),
        ("aws:ec2/instance:Instance", {"instanceType": "m7i.large"}),
        ("aws:ebs/volume:Volume", {"size": 100.0}),
        ("kubernetes:core/v1:Service", {"spec": {"type": "LoadBalancer"}}),
        ("kubernetes:core/v1:Service", {"spec": {"type": "ClusterIP"}}),
        ("openstack:compute/instance:Instance", {"flavorName": "g1.l4"}),
    ]
    found = estimate_resources(world, PRICES, {"g1.l4": Flavor(1.0, 8)})
    hourly = 0.1 + 0.045 + (0.05 + 0.05 + 2 * 0.005) + 2 * 0.01 + 0.1008 + 0.0225 + 1.0 + 8 * 0.02
    assert found.low == pytest.approx(hourly * HOURS_A_MONTH + 100 * 0.08)


def test_a_capacity_blocks_type_is_in_the_template_that_a_preview_knows_by_name():
    template = {"name": "gpu", "instanceType": "p5.48xlarge", "instanceMarketOptions": {"marketType": "capacity-block"}}
    group = {"nodeGroupName": "gpu", "launchTemplate": {"id": object()}, "scalingConfig": {"desiredSize": 2.0}}
    found = estimate_resources(
        [("aws:ec2/launchTemplate:LaunchTemplate", template), ("aws:eks/nodeGroup:NodeGroup", group)], PRICES
    )
    assert [(line.item, line.low, line.high) for line in found.lines] == [
        ("p5.48xlarge capacity-block", 0.0, pytest.approx(55.04 * 2 * HOURS_A_MONTH))
    ]


def test_a_difference_has_what_came_what_went_and_what_changed():
    def bill(kind: str, count: int):
        made = Bill(PRICES, "us-east-1")
        made.machines("aws", kind, count)
        made.service("aws", "EKS cluster", "eks_cluster_hour", 1)
        return made.done()

    grown = difference(bill("g6.xlarge", 1), bill("g6.xlarge", 3))
    assert [(line.item, line.count, line.high) for line in grown.lines] == [
        ("g6.xlarge on-demand", 2, pytest.approx(2 * 0.8048 * HOURS_A_MONTH))
    ]
    moved = difference(bill("g6.xlarge", 1), bill("g6.2xlarge", 1))
    assert [line.count for line in moved.lines] == [-1, 1]
    assert difference(bill("g6.xlarge", 1), bill("g6.xlarge", 1)).lines == ()


def test_a_preview_of_two_more_nodes_costs_two_more_nodes():
    settings = cloud_settings()
    found = cost_difference(cloud_change(), settings)
    by_item = {line.item: line.count for line in found.lines}
    assert by_item == {"g6.xlarge on-demand": 2, "keys": -1}
    assert flavors_of(settings)["g1.l4"].hybrid_vcpus == 8
