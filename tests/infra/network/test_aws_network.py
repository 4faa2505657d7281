"""The VPC: what it holds, what reaches out of it, and what reaches it."""

import pytest

from infra.network.aws import nth_zone
from infra.network.endpoints import INTERFACES
from tests.kit.cloud import ACCOUNT
from workloads.spec.errors import UserError

SUBNET = "aws:ec2/subnet:Subnet"
ROUTE = "aws:ec2/route:Route"


def test_a_vpc_that_private_names_of_endpoints_work_in(network):
    vpc = network().one("aws:ec2/vpc:Vpc").inputs
    assert (vpc["cidrBlock"], vpc["enableDnsSupport"], vpc["enableDnsHostnames"]) == ("10.0.0.0/16", True, True)


def test_each_kind_of_subnet_is_in_every_zone_and_none_gives_public_addresses(network):
    subnets = network(**{"sites.0.aws.zones": 3}).of_type(SUBNET)
    assert len(subnets) == 9
    for kind in ("public", "private", "intra"):
        zones = [subnet.inputs["availabilityZone"] for subnet in subnets if f"-{kind}-" in subnet.name]
        assert zones == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    assert not any(subnet.inputs["mapPublicIpOnLaunch"] for subnet in subnets)


def test_a_zone_that_aws_opens_later_moves_no_subnet(network):
    assert all(subnet.ignore_changes == ("availabilityZone",) for subnet in network().of_type(SUBNET))


def test_load_balancers_and_karpenter_find_their_subnets(network):
    tags = {subnet.name: subnet.inputs["tags"] for subnet in network().of_type(SUBNET)}
    assert tags["aws-1-public-0"]["kubernetes.io/role/elb"] == "1"
    assert tags["aws-1-private-1"]["kubernetes.io/role/internal-elb"] == "1"
    assert tags["aws-1-private-1"]["karpenter.sh/discovery"] == "isthmus-dev"
    assert not any(key.startswith(("kubernetes.io", "karpenter.sh")) for key in tags["aws-1-intra-0"])


def test_everything_that_bears_tags_says_whose_it_is(network):
    untagged = {"Route", "RouteTableAssociation", "RouteTablePropagation", "RolePolicy"}
    for resource in network().resources:
        if resource.type.startswith("aws:") and resource.type.rpartition(":")[2] not in untagged:
            assert resource.inputs["tags"].items() >= {"project": "isthmus", "stack": "dev"}.items(), resource.name


@pytest.mark.parametrize(
    ("nat", "gateways", "ways"),
    [
        ("none", [], {}),
        ("one", ["aws-1-nat-0"], {0: "aws-1-nat-0", 1: "aws-1-nat-0", 2: "aws-1-nat-0"}),
        ("zone", ["aws-1-nat-0", "aws-1-nat-1", "aws-1-nat-2"], {n: f"aws-1-nat-{n}" for n in range(3)}),
    ],
)
def test_nat_gateways_by_choice_of_cost_or_failure(network, nat, gateways, ways):
    program = network(**{"sites.0.aws.nat": nat, "sites.0.aws.zones": 3})
    assert [gateway.name for gateway in program.of_type("aws:ec2/natGateway:NatGateway")] == gateways
    assert [address.name for address in program.of_type("aws:ec2/eip:Eip")] == gateways
    out = {
        r.inputs["routeTableId"]: r.inputs["natGatewayId"] for r in program.of_type(ROUTE) if "natGatewayId" in r.inputs
    }
    assert out == {f"aws-1-private-{zone}-id": f"{gateway}-id" for zone, gateway in ways.items()}
    for gateway in program.of_type("aws:ec2/natGateway:NatGateway"):
        assert gateway.inputs["subnetId"] == f"aws-1-public-{gateway.name[-1]}-id"


def test_intra_subnets_have_no_way_out_and_only_public_ones_lead_to_the_internet(network):
    program = network(**{"sites.0.aws.nat": "zone"})
    default = [r for r in program.of_type(ROUTE) if r.inputs["destinationCidrBlock"] == "0.0.0.0/0"]
    tables = {r.inputs["routeTableId"] for r in default}
    assert tables == {"aws-1-public-id", "aws-1-private-0-id", "aws-1-private-1-id"}
    assert {r.inputs["routeTableId"] for r in default if "gatewayId" in r.inputs} == {"aws-1-public-id"}
    joined = {
        join.inputs["subnetId"]: join.inputs["routeTableId"]
        for join in program.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    }
    assert joined == {
        f"aws-1-{kind}-{zone}-id": "aws-1-public-id" if kind == "public" else f"aws-1-{kind}-{zone}-id"
        for kind in ("public", "private", "intra")
        for zone in range(2)
    }


def test_endpoints_for_what_nodes_call(network):
    endpoints = {e.inputs["serviceName"]: e.inputs for e in network().of_type("aws:ec2/vpcEndpoint:VpcEndpoint")}
    gateway = endpoints.pop("com.amazonaws.eu-central-1.s3")
    assert gateway["vpcEndpointType"] == "Gateway"
    assert len(gateway["routeTableIds"]) == 4
    assert set(endpoints) == {f"com.amazonaws.eu-central-1.{service}" for service in INTERFACES}
    for endpoint in endpoints.values():
        assert endpoint["privateDnsEnabled"]
        assert endpoint["subnetIds"] == ["aws-1-intra-0-id", "aws-1-intra-1-id"]
        assert endpoint["securityGroupIds"] == ["aws-1-endpoints-id"]


def test_endpoints_admit_the_vpc_and_the_hybrid_nodes_over_tls_alone(network):
    program = network()
    rules = [rule.inputs for rule in program.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")]
    assert sorted(rule["cidrIpv4"] for rule in rules) == ["10.0.0.0/16", "10.64.0.0/18", "10.64.128.0/17"]
    assert {(rule["ipProtocol"], rule["fromPort"], rule["toPort"]) for rule in rules} == {("tcp", 443, 443)}
    group = program.one("aws:ec2/securityGroup:SecurityGroup").inputs
    assert "ingress" not in group
    assert "egress" not in group


def test_interface_endpoints_can_be_left_out(network):
    program = network(**{"sites.0.aws.interface_endpoints": False})
    assert program.one("aws:ec2/vpcEndpoint:VpcEndpoint").name == "aws-1-s3"
    assert not program.of_type("aws:ec2/securityGroup:SecurityGroup")


def test_the_default_group_admits_nothing(network):
    group = network().one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
    assert (group["vpcId"], group["ingress"], group["egress"]) == ("aws-1-id", [], [])


def test_flow_logs_are_encrypted_kept_for_a_time_and_written_by_a_role_for_nothing_else(network):
    program = network(**{"sites.0.aws.log_days": 90})
    log = program.one("aws:ec2/flowLog:FlowLog")
    (group,) = (g for g in program.of_type("aws:cloudwatch/logGroup:LogGroup") if g.name == "aws-1-flow")
    assert group.inputs["retentionInDays"] == 90
    assert group.inputs["kmsKeyId"] == f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/logs"
    assert (log.inputs["trafficType"], log.inputs["maxAggregationInterval"]) == ("ALL", 60)
    assert log.inputs["logDestination"].endswith("/aws-1-flow")
    role, policy = program.one("aws:iam/role:Role"), program.one("aws:iam/rolePolicy:RolePolicy")
    assert "vpc-flow-logs.amazonaws.com" in role.inputs["assumeRolePolicy"]
    assert "logs:PutLogEvents" in policy.inputs["policy"]
    assert policy.urn in log.depends_on


def test_a_region_with_fewer_zones_says_how_many():
    assert nth_zone(["eu-1c", "eu-1a"], 1, "aws-1") == "eu-1c"
    with pytest.raises(UserError, match=r"more than the 2 that its region has \(eu-1a, eu-1c\); set zones: 2"):
        nth_zone(["eu-1c", "eu-1a"], 2, "aws-1")


def test_the_contract_goes_by_zone_and_waits_for_the_ways(network):
    program = network()
    contract = program.result[0]
    assert contract.zones == ("eu-central-1a", "eu-central-1b")
    assert contract.private_subnets == ("aws-1-private-0-id", "aws-1-private-1-id")
    assert contract.intra_route_tables == ("aws-1-intra-0-id", "aws-1-intra-1-id")
    assert len(contract.ready) == 6 + 2 + 1 + len(INTERFACES)
