"""The link: two tunnels cut alike at both ends, their keys a secret from birth to use."""

import json
from types import SimpleNamespace

import pytest
import yaml

from infra.network.gateway import identity_url, payload_path
from infra.network.tunnels import LARGE_MBPS, STANDARD_MBPS, bandwidth
from workloads.spec.errors import UserError

VPN = "aws:ec2/vpnConnection:VpnConnection"
KEYS = ("psk-of-tunnel-one", "psk-of-tunnel-two")


def cloud_config(program):
    text = program.one("openstack:compute/instance:Instance").inputs["userData"]
    return yaml.safe_load(text), text


def test_the_transit_gateway_routes_by_a_table_of_its_own(network):
    program = network()
    gateway = program.one("aws:ec2transitgateway/transitGateway:TransitGateway").inputs
    assert gateway["amazonSideAsn"] == 64512
    assert gateway["defaultRouteTableAssociation"] == gateway["defaultRouteTablePropagation"] == "disable"
    assert gateway["vpnEcmpSupport"] == "enable"
    attachment = program.one("aws:ec2transitgateway/vpcAttachment:VpcAttachment").inputs
    assert attachment["subnetIds"] == ["aws-1-intra-0-id", "aws-1-intra-1-id"]
    for kind in ("routeTableAssociation:RouteTableAssociation", "routeTablePropagation:RouteTablePropagation"):
        joined = {j.inputs["transitGatewayAttachmentId"] for j in program.of_type(f"aws:ec2transitgateway/{kind}")}
        assert joined == {"aws-1-transit-id", "tgw-attach-0vpn"}


def test_private_and_intra_subnets_find_the_openstack_side_once_the_vpc_is_attached(network):
    program = network()
    routes = [r for r in program.of_type("aws:ec2/route:Route") if r.inputs["destinationCidrBlock"] == "10.64.0.0/16"]
    assert {r.inputs["routeTableId"] for r in routes} == {
        f"aws-1-{k}-{z}-id" for k in ("private", "intra") for z in (0, 1)
    }
    attachment = program.one("aws:ec2transitgateway/vpcAttachment:VpcAttachment")
    assert all(attachment.urn in r.depends_on and r.inputs["transitGatewayId"] == "aws-1-transit-id" for r in routes)


def test_the_customer_gateway_is_the_floating_ip_with_the_projects_as_number(network):
    gateway = network().one("aws:ec2/customerGateway:CustomerGateway").inputs
    assert (gateway["ipAddress"], gateway["bgpAsn"], gateway["type"]) == ("192.0.2.20", "64513", "ipsec.1")
    long = network(**{"sites.1.openstack.asn": 4_200_000_001}).one("aws:ec2/customerGateway:CustomerGateway").inputs
    assert long["bgpAsnExtended"] == "4200000001"
    assert "bgpAsn" not in long


@pytest.mark.parametrize("tunnel", [1, 2])
def test_tunnels_are_strong_and_come_back_by_themselves(network, tunnel):
    inputs = network().one(VPN).inputs
    of = {
        key.removeprefix(f"tunnel{tunnel}"): value for key, value in inputs.items() if key.startswith(f"tunnel{tunnel}")
    }
    assert of["InsideCidr"] == f"169.254.100.{4 * (tunnel - 1)}/30"
    assert of["IkeVersions"] == ["ikev2"]
    for phase in ("Phase1", "Phase2"):
        assert of[f"{phase}EncryptionAlgorithms"] == ["AES256-GCM-16"]
        assert set(of[f"{phase}IntegrityAlgorithms"]) <= {"SHA2-384", "SHA2-512"}
        assert min(of[f"{phase}DhGroupNumbers"]) >= 20
    assert (of["DpdTimeoutAction"], of["StartupAction"]) == ("restart", "start")
    log = of["LogOptions"]["cloudwatchLogOptions"]
    assert log["logEnabled"] is log["bgpLogEnabled"] is True
    assert log["logGroupArn"].endswith("/os-1-vpn")
    assert "PresharedKey" not in of, "AWS draws the keys"


def test_bgp_chooses_the_tunnel(network):
    connection = network().one(VPN).inputs
    assert connection["staticRoutesOnly"] is False
    assert "localIpv4NetworkCidr" not in connection
    assert connection["tunnelBandwidth"] == "standard"


def test_a_flow_that_outgrows_a_standard_tunnel_gets_large_ones():
    assert bandwidth(STANDARD_MBPS, 2) == "standard"
    assert bandwidth(STANDARD_MBPS + 1, 2) == "large"
    assert bandwidth(2 * LARGE_MBPS, 2) == "large"
    with pytest.raises(
        UserError, match=r"12000 Mbit/s is over the 10000 Mbit/s of 2 large VPN tunnels; set rate: 10 Gbit/s"
    ):
        bandwidth(12_000, 2)
    with pytest.raises(UserError, match=r"of 1 large VPN tunnel; set rate: 5 Gbit/s"):
        bandwidth(6000, 1)


def test_keys_are_secrets_in_barbican_and_nowhere_else(network):
    program = network()
    secrets = program.of_type("openstack:keymanager/secretV1:SecretV1")
    assert [secret.inputs["payload"] for secret in secrets] == list(KEYS)
    assert all(
        "payload" in secret.secrets and secret.inputs["payloadContentType"] == "text/plain" for secret in secrets
    )
    for resource in program.resources:
        if resource not in secrets:
            assert not any(key in json.dumps(resource.inputs, default=str) for key in KEYS), resource.name


def test_the_credential_reads_these_two_payloads_and_nothing_else(network):
    credential = network().one("openstack:identity/applicationCredential:ApplicationCredential").inputs
    assert credential["unrestricted"] is False
    assert credential["accessRules"] == [
        {"service": "key-manager", "method": "GET", "path": f"/v1/secrets/os-1-tunnel-{tunnel}/payload"}
        for tunnel in (1, 2)
    ]


def test_a_key_managers_prefix_is_part_of_the_path():
    assert payload_path("https://cloud.example.org/key-manager/v1/secrets/7") == "/key-manager/v1/secrets/7/payload"


def test_user_data_is_a_secret_without_a_tunnels_key(network):
    program = network()
    assert "userData" in program.one("openstack:compute/instance:Instance").secrets
    document, text = cloud_config(program)
    assert not any(key in text for key in KEYS)
    keys = json.loads(next(f["content"] for f in document["write_files"] if f["path"] == "/etc/isthmus/keys.json"))
    assert keys["identity_url"] == "https://identity.example.org/v3"
    assert keys["credential"] == {"id": "os-1-gateway-id", "secret": "application-credential-secret"}
    assert list(keys["secrets"].values()) == [
        f"https://keys.example.org/v1/secrets/os-1-tunnel-{tunnel}" for tunnel in (1, 2)
    ]


def test_the_gateway_has_its_group_on_its_port_and_a_config_drive(network):
    server = network().one("openstack:compute/instance:Instance").inputs
    assert server["networks"] == [{"port": "os-1-gateway-id"}]
    assert "securityGroups" not in server
    assert server["configDrive"] is True
    assert (server["imageName"], server["flavorName"]) == ("debian-13", "m1.small")
    assert server["metadata"]["owner"] == "ml-platform"


def test_an_encrypted_root_volume_where_the_cloud_has_a_type_for_it(network):
    server = network(**{"sites.1.openstack.gateway.volume_type": "luks"}).one("openstack:compute/instance:Instance")
    (disk,) = server.inputs["blockDevices"]
    assert (disk["volumeType"], disk["uuid"], disk["destinationType"]) == ("luks", "image-debian-13", "volume")
    assert "imageName" not in server.inputs
    assert server.ignore_changes == ("blockDevices[0].uuid",)


def test_the_contract_tells_what_the_link_carries(network):
    link = network().result[2]
    assert (link.rate_mbps, link.rtt_ms) == (1000, 20)
    assert (link.mtu, link.pod_mtu) == (1378, 1328)
    assert link.outside_addresses == ("203.0.113.11", "203.0.113.12")


def endpoint(interface, region, url):
    return SimpleNamespace(interface=interface, region=region, url=url)


def test_keystone_is_found_in_the_catalogue_whatever_its_path():
    catalogue = [
        SimpleNamespace(type="compute", endpoints=[endpoint("public", "RegionOne", "https://nova/v2.1")]),
        SimpleNamespace(
            type="identity",
            endpoints=[
                endpoint("internal", "RegionOne", "http://10.0.0.5:5000"),
                endpoint("public", "RegionTwo", "https://two.example.org/"),
                endpoint("public", "RegionOne", "https://one.example.org/identity/v3/"),
            ],
        ),
    ]
    assert identity_url(catalogue, "RegionOne") == "https://one.example.org/identity/v3"
    assert identity_url(catalogue, "RegionTwo") == "https://two.example.org/v3"
    with pytest.raises(UserError, match="no public identity endpoint in region RegionThree"):
        identity_url(catalogue, "RegionThree")
