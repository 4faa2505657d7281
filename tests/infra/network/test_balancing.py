"""The load balancer before the gateway of the OpenStack side: who may come, where it looks, and what it opens."""

from dataclasses import replace
from functools import cache

import pulumi
import pytest

from infra.addressing import address_plan
from infra.mesh import ports
from infra.network.balancing import allowed, balancers
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare

LB = "openstack:loadbalancer"
ACCESS = {"issuer": "https://login.example.org", "jwks": "https://login.example.org/jwks", "audiences": ("models",)}
DOOR = "sites.1.openstack.door"
OPEN = (("cloud.serving.access", tuple(ACCESS.items())), (f"{DOOR}.floating_ip", True))


@cache
def declared(*changes) -> CloudProgram:
    settings = cloud_settings(**{key: dict(value) if key.endswith("access") else value for key, value in changes})

    def body(scope):
        servers = tuple(pulumi.Output.from_input(f"10.64.0.{20 + index}") for index in range(3))
        pools = (fakes.pool("aws-1"), replace(fakes.pool("os-1"), addresses=servers))
        return balancers(scope, settings, address_plan(settings), fakes.openstack_network(), pools)

    return declare(body, settings)


def one(program, kind):
    return program.one(f"{LB}/{kind[0].lower()}{kind[1:]}:{kind}").inputs


def test_it_has_an_address_of_the_plan_that_dhcp_gives_to_nobody():
    made, plan = one(declared(), "LoadBalancer"), address_plan(cloud_settings()).openstack
    assert (made["vipSubnetId"], made["vipAddress"]) == ("subnet-0", "10.64.0.11")
    assert plan.door in plan.nodes
    assert plan.router < plan.gateway < plan.door < plan.dhcp[0]
    assert declared().result.doors == {"os-1": "10.64.0.11"}


def test_it_passes_tls_on_to_every_server_at_the_gateways_port():
    program = declared()
    listener, pool = one(program, "Listener"), one(program, "Pool")
    assert (listener["protocol"], listener["protocolPort"]) == ("TCP", 443)
    assert (pool["protocol"], pool["listenerId"]) == ("TCP", "os-1-door-id")
    members = [member.inputs for member in program.of_type(f"{LB}/member:Member")]
    assert [member["address"] for member in members] == ["10.64.0.20", "10.64.0.21", "10.64.0.22"]
    assert {member["protocolPort"] for member in members} == {ports.DOOR_NODE}
    assert {member["subnetId"] for member in members} == {"subnet-0"}


def test_a_server_without_a_proxy_is_found_out_by_the_monitor():
    monitor = one(declared(), "Monitor")
    assert (monitor["type"], monitor["poolId"]) == ("TCP", "os-1-door-id")
    assert monitor["timeout"] < monitor["delay"]  # Octavia takes no other


def test_it_waits_longer_than_the_longest_request():
    listener = one(declared(), "Listener")
    assert min(listener["timeoutClientData"], listener["timeoutMemberData"]) > 300_000


def test_nodes_let_its_port_in_from_its_own_subnet_alone():
    rule = declared().one("openstack:networking/secGroupRule:SecGroupRule").inputs
    assert rule["securityGroupId"] == "group-nodes"
    assert rule["remoteIpPrefix"] == str(address_plan(cloud_settings()).openstack.nodes)
    assert (rule["protocol"], rule["portRangeMin"], rule["portRangeMax"]) == ("tcp", 30043, 30043)


def test_what_can_be_tagged_is():
    tagged = [r for r in declared(*OPEN).resources if r.type.startswith("openstack:") and "tags" in r.inputs]
    assert {r.type.rpartition(":")[2] for r in tagged} == {"FloatingIp", "Listener", "LoadBalancer", "Member", "Pool"}
    assert all("owner=ml-platform" in r.inputs["tags"] for r in tagged)


@pytest.mark.parametrize(
    ("changes", "networks"),
    [
        ({}, ["10.0.0.0/16", "10.64.0.0/16"]),
        (
            {"clients": ["198.51.100.0/24", "172.16.0.0/12"]},
            ["10.0.0.0/16", "10.64.0.0/16", "172.16.0.0/12", "198.51.100.0/24"],
        ),
        ({"floating_ip": True}, ["0.0.0.0/0"]),
        ({"floating_ip": True, "clients": ["198.51.100.0/24"]}, ["10.0.0.0/16", "10.64.0.0/16", "198.51.100.0/24"]),
    ],
)
def test_both_sites_may_come_and_who_is_named_and_anybody_only_from_outside(changes, networks):
    settings = cloud_settings(**{f"{DOOR}.{key}": value for key, value in changes.items()})
    found = allowed(settings.openstack_site[1].door, address_plan(settings))
    assert found == networks == sorted(found)


def test_a_listener_has_its_networks():
    assert one(declared(), "Listener")["allowedCidrs"] == ["10.0.0.0/16", "10.64.0.0/16"]


def test_a_floating_ip_is_the_balancers_and_only_where_it_is_asked_for():
    floating = "openstack:networking/floatingIp:FloatingIp"
    assert not declared().of_type(floating)
    program = declared(*OPEN)
    assert program.one(floating).inputs["portId"] == "port-of-os-1-door"
    assert program.result.doors == {"os-1": "192.0.2.20"}


@pytest.mark.parametrize("change", [(f"{DOOR}.load_balancer", "none"), ("sites.1.openstack.gpu_servers", ())])
def test_a_cloud_without_octavia_and_a_site_without_servers_have_none(change):
    program = declared(change)
    assert program.result.doors == {}
    assert not [r for r in program.resources if r.type.startswith(LB)]


def test_the_provider_is_the_clouds_default_unless_one_is_named():
    assert "loadbalancerProvider" not in one(declared(), "LoadBalancer")
    assert one(declared((f"{DOOR}.provider", "amphora")), "LoadBalancer")["loadbalancerProvider"] == "amphora"
