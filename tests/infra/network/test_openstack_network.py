"""The OpenStack side: addresses from the plan, security groups on ports, and one way in."""

from functools import partial

import pytest

from infra.addressing import address_plan
from infra.network.openstack import wide_enough
from tests.kit.cloud import cloud_settings
from workloads.spec.errors import UserError

RULE = "openstack:networking/secGroupRule:SecGroupRule"


def rules_of(program, group):
    return {
        (
            rule.inputs.get("remoteIpPrefix") or rule.inputs["remoteGroupId"],
            rule.inputs.get("protocol"),
            rule.inputs.get("portRangeMin"),
        )
        for rule in program.of_type(RULE)
        if rule.inputs["securityGroupId"] == f"{group}-id" and rule.inputs["direction"] == "ingress"
    }


def test_servers_get_addresses_that_no_fixed_one_has(network):
    subnet = network().one("openstack:networking/subnet:Subnet").inputs
    plan = address_plan(cloud_settings()).openstack
    (pool,) = subnet["allocationPools"]
    assert (subnet["cidr"], subnet["gatewayIp"]) == (str(plan.nodes), str(plan.router))
    assert (pool["start"], pool["end"]) == ("10.64.0.16", "10.64.63.254")
    assert subnet["dnsNameservers"] == ["9.9.9.9", "149.112.112.112"]


def test_the_gateways_port_forwards_for_the_vpc_and_keeps_port_security(network):
    port = network().one("openstack:networking/port:Port").inputs
    assert port["fixedIps"] == [{"subnetId": "os-1-nodes-id", "ipAddress": "10.64.0.10"}]
    assert port["allowedAddressPairs"] == [{"ipAddress": "10.0.0.0/16"}]
    assert port["portSecurityEnabled"] is True
    assert port["securityGroupIds"] == ["os-1-gateway-id"]


def test_one_floating_ip_once_the_router_is_joined(network):
    program = network()
    floating = program.one("openstack:networking/floatingIp:FloatingIp")
    assert floating.inputs["pool"] == "public"
    assert floating.inputs["portId"] == "os-1-gateway-id"
    assert program.one("openstack:networking/routerInterface:RouterInterface").urn in floating.depends_on


def test_the_way_to_the_vpc_is_told_to_the_router_and_to_nodes(network):
    program = network()
    route = program.one("openstack:networking/routerRoute:RouterRoute")
    assert (route.inputs["destinationCidr"], route.inputs["nextHop"]) == ("10.0.0.0/16", "10.64.0.10")
    assert program.one("openstack:networking/routerInterface:RouterInterface").urn in route.depends_on
    by_dhcp = program.one("openstack:networking/subnetRoute:SubnetRoute").inputs
    assert (by_dhcp["destinationCidr"], by_dhcp["nextHop"]) == ("10.0.0.0/16", "10.64.0.10")


def test_nodes_hear_each_other_and_the_vpc(network):
    assert rules_of(network(), "os-1-nodes") == {("os-1-nodes-id", None, None), ("10.0.0.0/16", None, None)}


def test_the_gateway_hears_the_project_and_the_two_ends_of_aws_and_nobody_else(network):
    ipsec = {(f"203.0.113.{end}/32", "udp", port) for end in (11, 12) for port in (500, 4500)}
    assert rules_of(network(), "os-1-gateway") == {("10.64.0.0/16", None, None), *ipsec}


def test_ssh_and_health_are_open_to_administrators_alone(network):
    program = network(**{"sites.1.openstack.gateway.admin_networks": ("198.51.100.0/24",)})
    assert {rule for rule in rules_of(program, "os-1-gateway") if rule[1] == "tcp"} == {
        ("198.51.100.0/24", "tcp", 22),
        ("198.51.100.0/24", "tcp", 8081),
    }


def test_groups_hold_no_rule_that_the_stack_did_not_write(network):
    program = network()
    groups = program.of_type("openstack:networking/secGroup:SecGroup")
    assert all(group.inputs["deleteDefaultRules"] for group in groups)
    out = [rule.inputs for rule in program.of_type(RULE) if rule.inputs["direction"] == "egress"]
    assert [rule["remoteIpPrefix"] for rule in out] == ["0.0.0.0/0"] * len(groups)


def test_inputs_that_older_providers_do_not_know_are_not_used(network):
    for vpn in ("gateway", "vpnaas"):
        for group in network(**{"sites.1.openstack.vpn": vpn}).of_type("openstack:networking/secGroup:SecGroup"):
            assert "stateful" not in group.inputs
        for rule in network(**{"sites.1.openstack.vpn": vpn}).of_type(RULE):
            assert "remoteAddressGroupId" not in rule.inputs


def test_a_network_narrower_than_planned_is_refused_with_what_to_set():
    check = partial(wide_enough, site="os-1", needed=1500)
    assert check(1500) == 1500
    with pytest.raises(
        UserError, match=r"os-1: its network has an MTU of 1442.*planned for 1500; set openstack.mtu: 1442"
    ):
        check(1442)


def test_the_contract_says_the_networks_own_mtu(network):
    contract = network().result[1]
    assert contract.mtu == 1450
    assert contract.key_pair is None
    assert contract.gateway_floating_ip == "192.0.2.20"


def test_a_key_pair_only_for_who_gives_a_key(network):
    program = network(**{"sites.1.openstack.ssh_public_key": "ssh-ed25519 AAAA somebody"})
    assert program.one("openstack:compute/keypair:Keypair").inputs["publicKey"] == "ssh-ed25519 AAAA somebody"
    assert program.one("openstack:compute/instance:Instance").inputs["keyPair"] == "isthmus-dev-os-1"
