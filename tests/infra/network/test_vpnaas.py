"""VPNaaS in place of the gateway: one tunnel, static routes, and nothing of the gateway left."""

import pytest

VPNAAS = {"sites.1.openstack.vpn": "vpnaas"}


@pytest.fixture
def program(network):
    return network(**VPNAAS)


def test_no_gateway_stands_beside_it(program):
    gone = (
        "compute/instance:Instance",
        "networking/floatingIp:FloatingIp",
        "networking/port:Port",
        "networking/routerRoute:RouterRoute",
        "keymanager/secretV1:SecretV1",
        "identity/applicationCredential:ApplicationCredential",
    )
    assert not any(program.of_type(f"openstack:{kind}") for kind in gone)
    assert program.result[1].gateway_security_group is None


def test_the_router_is_aws_customer_gateway(program):
    assert program.one("aws:ec2/customerGateway:CustomerGateway").inputs["ipAddress"] == "192.0.2.30"
    assert program.result[1].gateway_address == "10.64.0.1"
    assert program.result[1].gateway_port == "port-of-router-os-1"


def test_both_ends_propose_one_pair_of_selectors_and_one_suite(program):
    aws = program.one("aws:ec2/vpnConnection:VpnConnection").inputs
    groups = {
        g.inputs["type"]: g.inputs["endpoints"] for g in program.of_type("openstack:vpnaas/endpointGroup:EndpointGroup")
    }
    assert groups == {"subnet": ["os-1-nodes-id"], "cidr": ["10.0.0.0/16"]}
    assert (aws["localIpv4NetworkCidr"], aws["remoteIpv4NetworkCidr"]) == ("10.64.0.0/18", "10.0.0.0/16")
    for kind, phase in (("ikePolicy:IkePolicy", "Phase1"), ("ipSecPolicy:IpSecPolicy", "Phase2")):
        policy = program.one(f"openstack:vpnaas/{kind}").inputs
        assert aws[f"tunnel1{phase}EncryptionAlgorithms"] == [policy["encryptionAlgorithm"].upper().replace("-", "")]
        assert aws[f"tunnel1{phase}IntegrityAlgorithms"] == [policy["authAlgorithm"].upper().replace("SHA", "SHA2-")]
        assert aws[f"tunnel1{phase}DhGroupNumbers"] == [int(policy["pfs"].removeprefix("group"))]
    assert program.one("openstack:vpnaas/ikePolicy:IkePolicy").inputs["ikeVersion"] == "v2"


def test_one_tunnel_is_used_and_aws_does_not_dial_the_other(program):
    site = program.one("openstack:vpnaas/siteConnection:SiteConnection")
    assert site.inputs["peerAddress"] == site.inputs["peerId"] == "203.0.113.11"
    assert site.inputs["psk"] == "psk-of-tunnel-one"
    assert "psk" in site.secrets
    aws = program.one("aws:ec2/vpnConnection:VpnConnection").inputs
    assert (aws["tunnel1StartupAction"], aws["tunnel2StartupAction"]) == ("start", "add")


def test_routes_are_static_and_of_the_transit_gateway(program):
    assert program.one("aws:ec2/vpnConnection:VpnConnection").inputs["staticRoutesOnly"] is True
    assert not program.of_type("aws:ec2/vpnConnectionRoute:VpnConnectionRoute"), "for virtual private gateways alone"
    route = program.one("aws:ec2transitgateway/route:Route").inputs
    assert route["destinationCidrBlock"] == "10.64.0.0/18"
    assert route["transitGatewayAttachmentId"] == "tgw-attach-0vpn"


def test_it_waits_for_the_router_to_be_joined(program):
    interface = program.one("openstack:networking/routerInterface:RouterInterface")
    assert interface.urn in program.one("openstack:vpnaas/service:Service").depends_on


def test_what_fits_inside_is_less(program):
    assert program.result[2].mtu == program.one("openstack:vpnaas/siteConnection:SiteConnection").inputs["mtu"] == 1358
